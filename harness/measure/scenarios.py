"""The scenarios of strategies for targets in any order by their names, as ``scenario=`` gives them.

Strategies for streams are of another kind; `harness.measure.streams.point` makes their scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.measure.correctness import Meters
from harness.measure.job import Job
from harness.measure.predict import Predict
from harness.measure.scenario import Scenario
from harness.options.config import HarnessConfig
from harness.workload.encode import Workload
from strategies.base import Strategy
from strategies.vocabulary import Predictions

BY_NAME: Mapping[str, Callable[..., Scenario[Any, Any]]] = {"predict": Predict, "job": Job}


def scenario_of(
    config: HarnessConfig,
    workload: Workload,
    *,
    candidate: Strategy,
    baseline: Strategy | None,
    expected: Sequence[Predictions] | None,
    meters: Meters,
) -> Scenario[Any, Any]:
    """Return the scenario that the options name; `Predict` explains the other arguments."""
    made = BY_NAME[config.scenario]
    return made(config, workload, candidate=candidate, baseline=baseline, expected=expected, meters=meters)

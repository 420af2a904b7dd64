"""Grid points: what Hydra composed, made distinct and named."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from typing import Any

from harness.options.config import HarnessConfig, effective_data

INDECISIVE = (
    *("name", "results", "reporter", "resume", "timeout", "isolation", "certify", "check"),
    *("experiment", "sweeps"),
)
"""Options that do not change what is measured."""
KNOBS = ("bank", "positions", "compile", "cuda_graphs", "sdpa")
"""Options that reach a strategy only where its YAML takes them, so that a sweep of many strategies can set them."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of options.

    strategy, baseline: names in ``conf/strategy``; options: the resolved config, for the record; overrides: what the
    command line (or the default sweep) set; module: whose command line that was.
    """

    strategy: str
    baseline: str
    config: HarnessConfig
    options: dict[str, Any] = field(repr=False)
    overrides: tuple[str, ...]
    module: str = "harness"

    @property
    def variant(self) -> str:
        """How the knobs are set that the strategy takes: a switch that is on by its name, others by their value."""
        taken = {knob: self.config.strategy[knob] for knob in KNOBS if knob in self.config.strategy}
        words = [knob if value is True else str(value) for knob, value in taken.items()]
        return "-".join(word for word in words if word not in ("False", "auto"))

    @property
    def name(self) -> str:
        """Readable and distinct within any sweep; also a file name."""
        objects = "all" if self.config.objects is None else self.config.objects
        readable = [self.strategy.replace("/", "."), self.variant, f"b{self.config.batch}", f"o{objects}"]
        return "-".join([*filter(None, readable), self.digest[:8]])

    @property
    def digest(self) -> str:
        """Hash of the options that decide what is measured; of the knobs, those that the strategies take."""
        decisive = {key: value for key, value in self.options.items() if key not in (*INDECISIVE, *KNOBS)}
        return _hash({**decisive, "strategy_name": self.strategy, "baseline_name": self.baseline})

    @property
    def workload(self) -> str:
        """Hash of the options that decide the encoded features: points that share it share them."""
        shared = ("model", "refs", "targets", "dtype", "device", "seed", "encode")
        return _hash({**{key: self.options[key] for key in shared}, "data": vars(effective_data(self.config))})

    @property
    def command(self) -> str:
        """Measures this point again, from the start."""
        overrides = [word for word in self.overrides if not word.startswith("resume=")]
        return shlex.join(["python", "-m", self.module, *overrides])


def distinct(points: list[Point]) -> list[Point]:
    """The points without repetitions, in order, those that share features next to each other."""
    first = {point.digest: point for point in reversed(points)}
    order = list(dict.fromkeys(point.workload for point in points))
    chosen = [point for point in points if first[point.digest] is point]
    return sorted(chosen, key=lambda point: order.index(point.workload))


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

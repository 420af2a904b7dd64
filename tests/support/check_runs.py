"""For tests of the regression gate: hand-made snapshots, and strategies whose speed is theirs to decide.

`Ticking` moves a clock of its own instead of taking time, so a slow-down by 20 % is one by 20 %, on any machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.gate.snapshot import Record, Snapshot
from harness.row import Row
from harness.store.recorded import Environment
from strategies import Direct, Predictions, Sam2, VisionFeatures

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PACKAGES = {"torch": "2.11.0", "triton": None}


def environment(device: str = "a processor", **changes: Any) -> dict[str, Any]:
    entries = {"device": device, "python": "3.11.0", "packages": PACKAGES, "threads": 1}
    return entries | {"git_commit": COMMIT, "git_changed": None} | changes


def snapshot(*, device: str = "a processor", **rows: dict[str, Any]) -> Snapshot:
    """Points by key."""
    points = {key: Record.of(Row(**row)) for key, row in rows.items()}
    return Snapshot(
        made="2026-01-02T03:04:05+00:00", run="a-run", environment=Environment(**environment(device)), points=points
    )


# --- strategies ----------------------------------------------------------------------------------------------------

SECONDS = 0.03
"""That a target takes, but for noise of 1 %."""
Shape = tuple[int, int]
"""Targets of a batch, and objects."""


@dataclass(kw_only=True)
class Bench:
    """The clock, and which points are throttled by how much and have a mask flipped."""

    now: float = 0.0
    throttled: dict[Shape, float]
    flipped: set[Shape]
    noise: random.Random

    def clock(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds * self.noise.uniform(0.99, 1.01)


BENCH = Bench(throttled={}, flipped=set(), noise=random.Random(0))


class TickingBaseline(Direct):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        BENCH.spend(SECONDS * len(targets))
        return super()._predict(targets)


class Ticking(Direct):
    """Four times as fast as `TickingBaseline`, where it is not throttled."""

    def __init__(self, model: Sam2, *, exact: bool) -> None:
        super().__init__(model)
        self.exact = exact

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        shape = len(targets), len(right.object_ids)
        BENCH.spend(SECONDS / 4 * len(targets) * BENCH.throttled.get(shape, 1.0))
        if shape not in BENCH.flipped:
            return right
        logits = right.logits.clone()
        logits[0, 0] *= -1
        return replace(right, logits=logits)


YAMLS = {
    "ticking": "_target_: tests.support.check_runs.Ticking\nexact: true\n",
    "loose": "_target_: tests.support.check_runs.Ticking\nexact: false\n",
    "ticking_baseline": "_target_: tests.support.check_runs.TickingBaseline\n",
}


def ticking_strategies(folder: Path) -> str:
    """Writes their YAMLs into a user's folder; the option that makes them known."""
    (folder / "my_conf" / "strategy").mkdir(parents=True)
    for name, text in YAMLS.items():
        (folder / "my_conf" / "strategy" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return f"hydra.searchpath=[file://{folder / 'my_conf'}]"

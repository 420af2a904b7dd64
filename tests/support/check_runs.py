"""For tests of the regression gate: hand-made snapshots, and strategies whose speed is theirs to decide.

`Ticking` moves a clock of its own instead of taking time, so a slow-down by 20 % is one by 20 %, on any machine. Its
masks are those of `Direct`, which are made once, however often the gate asks for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.gate.check import main
from harness.gate.snapshot import Record, Snapshot
from harness.row import Row
from harness.store.recorded import Environment
from strategies import Direct, Predictions, References, Sam2, VisionFeatures
from tests.support.harness_runs import summary
from tests.support.remembered import digest

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


ANSWERS: dict[str, Predictions] = {}


class Remembered(Direct):
    """Gives the masks of `Direct` for the same pictures and references, each time in memory of its own."""

    _group = ""
    _waiting: References | None = None
    """Those that no bank was built of yet."""

    def _prepare(self, references: References) -> None:
        self._group = f"{references.object_ids} {digest(self.model, [references.features, references.masks])}"
        self._waiting = references

    def _predict(self, targets: VisionFeatures) -> Predictions:
        key = f"{self._group} {digest(self.model, [targets])}"
        if key not in ANSWERS:
            if self._waiting is not None:
                super()._prepare(self._waiting)
                self._waiting = None
            ANSWERS[key] = super()._predict(targets)
        return Predictions.concatenate([ANSWERS[key]])


class TickingBaseline(Remembered):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        BENCH.spend(SECONDS * len(targets))
        return super()._predict(targets)


class Ticking(Remembered):
    """Four times as fast as `TickingBaseline`, where it is not throttled."""

    def __init__(self, model: Sam2, *, exact: bool) -> None:
        super().__init__(model)
        self.exact = exact

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        shape = len(targets), len(right.object_ids)
        BENCH.spend(SECONDS / 4 * len(targets) * BENCH.throttled.get(shape, 1.0))
        return flipped(right) if shape in BENCH.flipped else right


def flipped(right: Predictions) -> Predictions:
    """The same with the first target's first mask inside out."""
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


@contextmanager
def ticking(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The harness's clock is the one that the strategies move; nothing is throttled or flipped."""
    for timing in ("point", "again"):  # A point's first process, and each further one.
        patch.setattr(f"harness.measure.{timing}.device_clock", lambda device: BENCH.clock)
    patch.setattr("harness.measure.point.measure_matrix_rate", lambda *_: 1e9)  # moves no clock
    patch.setattr("harness.measure.point.measure_copy_rate", lambda *_: 1e9)
    BENCH.noise = random.Random(0)
    BENCH.throttled, BENCH.flipped = {}, set()
    yield
    BENCH.throttled, BENCH.flipped = {}, set()


# --- checks --------------------------------------------------------------------------------------------------------

EVERY = {"ticking b1 o2", "ticking b3 o2", "loose b1 o2", "loose b3 o2"}
"""Points of `GRID`, in short."""
GRID = (
    *("strategy=ticking,loose", "strategy@baseline=ticking_baseline", "batch=1,3", "objects=2"),
    *("data.groups=1", "data.parts=2", "targets=3", "pictures=0", "isolation=inline", "reporter=null"),
    *("timing.min_seconds=0", "timing.max_seconds=1", "timing.warmup_seconds=0", "timing.processes=1"),
    "check.margins.memory=9",  # the tests' own process grows
)
NO_GRID = ("strategy=direct", "objects=1")
"""Options for commands that measure nothing."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with the ticking strategies, that the test is in."""

    folder: Path
    search: str

    def judge(self, *more: str) -> int:
        """Check a run that exists, with the smallest grid, as one is composed all the same."""
        return main([*NO_GRID, *more])

    def check(self, *more: str) -> int:
        named = {word.partition("=")[0] for word in more}
        return main([self.search, *(word for word in GRID if word.partition("=")[0] not in named), *more])

    @property
    def snapshots(self) -> list[Path]:
        return sorted((self.folder / "results" / "baselines").iterdir())

    @property
    def latest(self) -> Path:
        return (self.folder / "results" / "latest").resolve()

    def cases(self) -> dict[tuple[str, str], str]:
        """Return ``failure``, ``skipped`` or ``passed`` of the last run's JUnit XML, by point in short and quantity."""
        return junit_cases(self.latest / "junit.xml")

    def unsettled(self) -> dict[tuple[str, str], str]:
        return {case: state for case, state in self.cases().items() if state != "passed"}

    def row_of(self, strategy: str, *, batch: int, objects: int) -> dict[str, str]:
        wanted = (strategy, str(batch), str(objects))
        (found,) = [row for row in summary(self.latest) if (row["strategy"], row["batch"], row["objects"]) == wanted]
        return found


def junit_cases(path: Path) -> dict[tuple[str, str], str]:
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        words = str(case.get("classname")).split()
        key = " ".join(word.replace("batch=", "b").replace("objects=", "o") for word in words[:3])
        found[key, str(case.get("name"))] = case[0].tag if len(case) else "passed"
    return found


def missing_but(point: str) -> set[tuple[str, str]]:
    """Every other point of the snapshot, as one that was not measured."""
    return {(one, "status") for one in EVERY - {point}}

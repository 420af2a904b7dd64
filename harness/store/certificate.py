"""A device's certificate: how reliable ``python -m harness.certify`` found the harness on it. Each has a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.options.words import as_file_name
from harness.schema import Count, Number, Portion, Positive, StrictStr, fitted
from harness.store.atomic import write_whole


@dataclass(frozen=True, kw_only=True)
class Share:
    """``found`` of ``count`` comparisons, with the exact 95 % interval of their rate (Clopper and Pearson)."""

    count: Count
    found: Count
    rate: Portion
    lo: Portion
    hi: Portion

    @staticmethod
    def of(found: Iterable[bool]) -> Share:
        """Count what was found. Raises ValueError where nothing was compared."""
        from scipy.stats import binomtest  # Its import takes a second, which commands that compare nothing do without.

        listed = list(found)
        interval = binomtest(sum(listed), len(listed)).proportion_ci()
        return Share(
            count=len(listed),
            found=sum(listed),
            rate=sum(listed) / len(listed),
            lo=float(interval.low),
            hi=float(interval.high),
        )


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How often a slow-down by a known share was found, with the whole interval below 1."""

    slowdown: Positive
    detected: Share
    median_speedup: Positive


@dataclass(frozen=True, kw_only=True)
class GateRate:
    """How often the gate's rule called a pair of measurements regressed, and how often it passed.

    slowdown: the share by which the second measurement of each pair was slowed down; 0 where it was not, so that what
    is called regressed is a false alarm.
    """

    slowdown: Number
    regressed: Share
    passed: Share


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The results of the comparisons that were made under one condition.

    false_alarms: A/A comparisons whose verdict was "faster" or "slower". smallest_detected: the slow-down from which on
    at least 90 % were found, of 6 or more; None where not even the largest was. gate: empty where no pair was measured.
    """

    false_alarms: Share
    effects: list[Effect]
    smallest_detected: Number | None
    gate: list[GateRate] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Beside(Rates):
    """The results beside so many busy processes that were planted."""

    neighbours: Count


@dataclass(frozen=True, kw_only=True)
class Certificate(Rates):
    """The results of the comparisons on one device, beside nothing that was planted, and ``beside`` neighbours.

    planned, compared: numbers of comparisons; fewer were compared than planned where ``minutes`` were over or some
    failed. effect: the slow-down that was to be found in 95 % of cases; None where nobody asked. width: the width of
    the interval at which timing of a comparison ended. gate_margin: the share by which the gate lets a speed-up fall.
    Certificates of earlier versions lack these, and ``beside`` and ``gate`` as well.
    """

    device: StrictStr
    made: StrictStr
    git_commit: StrictStr | None
    strategy: StrictStr
    model: StrictStr
    dtype: StrictStr
    batch: Count
    objects: Count
    same: Number
    run: StrictStr
    beside: Beside | None = None
    planned: Count | None = None
    compared: Count | None = None
    minutes: Number | None = None
    effect: Positive | None = None
    width: Number | None = None
    gate_margin: Number | None = None

    @property
    def conditions(self) -> list[tuple[str, Rates]]:
        """Each condition in words, with its results."""
        if self.beside is None:
            return [("alone", self)]
        return [("alone", self), (in_words(self.beside.neighbours), self.beside)]

    @staticmethod
    def from_json(content: object) -> Certificate:
        """Read what `asdict` gave. Raises ValueError where that is no certificate."""
        return fitted(Certificate, content)


def in_words(neighbours: int) -> str:
    return f"beside {neighbours} busy process{'es' if neighbours > 1 else ''}" if neighbours else "alone"


def store(certificate: Certificate, folder: Path) -> Path:
    """Store the newest certificate of a device in the device's file, whose path is returned."""
    path = folder / file_name(certificate.device)
    write_whole(path, json.dumps(asdict(certificate), indent=2) + "\n")
    return path


def file_name(device: str) -> str:
    """Return the name of the file of a device's certificate."""
    return f"{as_file_name(device)}.json"

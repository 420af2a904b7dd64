"""A device's certificate: how reliable ``python -m harness.certify`` found the harness on it. Each has a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

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
class Certificate:
    """The results of the comparisons on one device.

    false_alarms: A/A comparisons whose verdict was "faster" or "slower". smallest_detected: the slow-down from which on
    at least 90 % were found; None where not even the largest was.
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
    false_alarms: Share
    effects: list[Effect]
    smallest_detected: Number | None
    run: StrictStr

    @staticmethod
    def from_json(content: object) -> Certificate:
        """Read what `asdict` gave. Raises ValueError where that is no certificate."""
        return fitted(Certificate, content)


def store(certificate: Certificate, folder: Path) -> Path:
    """Store the newest certificate of a device in the device's file, whose path is returned."""
    path = folder / file_name(certificate.device)
    write_whole(path, json.dumps(asdict(certificate), indent=2) + "\n")
    return path


def file_name(device: str) -> str:
    """Return the name of the file of a device's certificate."""
    return f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"

"""A device's certificate: how reliable ``python -m harness.certify`` found the harness on it. Each has a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Share:
    """``found`` of ``count`` comparisons, with the exact 95 % interval of their rate (Clopper and Pearson)."""

    count: int
    found: int
    rate: float
    lo: float
    hi: float

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

    slowdown: float
    detected: Share
    median_speedup: float


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The results of the comparisons on one device.

    false_alarms: A/A comparisons whose verdict was "faster" or "slower". smallest_detected: the slow-down from which on
    at least 90 % were found; None where not even the largest was.
    """

    device: str
    made: str
    git_commit: str | None
    strategy: str
    model: str
    dtype: str
    batch: int
    objects: int
    same: float
    false_alarms: Share
    effects: list[Effect]
    smallest_detected: float | None
    run: str

    @staticmethod
    def from_json(content: dict[str, Any]) -> Certificate:
        """Read what `asdict` gave. Raises ValueError where that is no certificate."""
        try:
            effects = [Effect(**effect | {"detected": Share(**effect["detected"])}) for effect in content["effects"]]
            return Certificate(**content | {"false_alarms": Share(**content["false_alarms"]), "effects": effects})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a certificate: {error}") from error


def store(certificate: Certificate, folder: Path) -> Path:
    """Store the newest certificate of a device in the device's file, whose path is returned."""
    folder.mkdir(exist_ok=True)
    path = folder / file_name(certificate.device)
    path.write_text(json.dumps(asdict(certificate), indent=2) + "\n", encoding="utf-8")
    return path


def file_name(device: str) -> str:
    """Return the name of the file of a device's certificate."""
    return f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"

"""A device's certificate of the check of masks: which planted faults the harness caught. Each has a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.store.atomic import write_whole
from harness.store.certificate import Share, file_name
from harness.store.results import json_text

KIND = "masks"
"""By this word these files are told from the certificates of timing beside them."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The check of one strategy in one dtype.

    number: the one that uses most of its limit; None where the predictions could not be compared. size, floor, limit:
    of that number; None where they are not finite either. in_fp32: whether it was only the certification in fp32 that
    told. reason: None where the strategy passed.
    """

    caught: bool
    in_fp32: bool
    number: str | None
    size: float | None
    floor: float | None
    limit: float | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class FaultFound:
    """The checks of one planted fault; ``by_dtype`` lacks a dtype in which it was not tried."""

    name: str
    what: str
    by_dtype: dict[str, Found]


@dataclass(frozen=True, kw_only=True)
class Honest:
    """The checks of exact strategies on drawn groups.

    wrong: how many were called wrong; a check is of one strategy on one set of groups. share_of_limits: the largest
    share of a limit that any used; None where none was compared.
    """

    dtype: str
    groups: int
    wrong: Share
    share_of_limits: float | None


@dataclass(frozen=True, kw_only=True)
class MaskCertificate:
    """The certificate of one device. honest: of exact strategies, one for each dtype."""

    device: str
    made: str
    git_commit: str | None
    model: str
    faults: list[FaultFound]
    honest: list[Honest]
    kind: str = KIND

    @staticmethod
    def from_json(content: dict[str, Any]) -> MaskCertificate:
        """Read what `asdict` gave. Raises ValueError where that is no certificate of masks."""
        if content.get("kind") != KIND:
            raise ValueError("not a certificate of masks")
        try:
            faults = [
                FaultFound(**one | {"by_dtype": {dtype: Found(**found) for dtype, found in one["by_dtype"].items()}})
                for one in content["faults"]
            ]
            honest = [Honest(**one | {"wrong": Share(**one["wrong"])}) for one in content["honest"]]
            certificate = MaskCertificate(**content | {"faults": faults, "honest": honest})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a certificate of masks: {error}") from error
        if not (faults and honest):
            raise ValueError("not a certificate of masks: it is of nothing")
        return certificate


def store(certificate: MaskCertificate, folder: Path) -> Path:
    """Store the newest certificate of a device in the device's file, whose path is returned."""
    path = folder / f"masks-{file_name(certificate.device)}"
    write_whole(path, json_text(asdict(certificate)))
    return path

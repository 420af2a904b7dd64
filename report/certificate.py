"""How far the harness can be trusted on a device: what ``python -m harness.certify`` found there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.certify import Certificate, Share
from report.run import Run, read_object
from report.tables import markdown_table


def certificate_section(run: Run) -> str:
    device = str(run.environment.get("device", "this device"))
    of_device = [one for one in _certificates(run.folder.resolve().parent / "certificates") if one.device == device]
    if of_device:
        told = max(of_device, key=lambda one: one.made).text
    else:
        told = f"There is no certificate for {device} yet: `python -m harness.certify` makes one."
    return "## How far to trust it\n\n" + told


@dataclass(frozen=True, kw_only=True)
class _Told:
    device: str
    made: datetime
    text: str


def _certificates(folder: Path) -> list[_Told]:
    """All that can be read."""
    told = []
    for path in sorted(folder.glob("*.json")):
        content = read_object(path)
        if content is None:
            continue
        try:
            told.append(_tell(content))
        except (ValueError, TypeError, AttributeError):  # damaged
            continue
    return told


def _tell(content: dict[str, Any]) -> _Told:
    certificate = Certificate.from_json(content)
    made = datetime.fromisoformat(certificate.made).astimezone()
    alarms, smallest = certificate.false_alarms, certificate.smallest_detected
    code = f", code {certificate.git_commit[:8]}" if certificate.git_commit else ""
    found = "none of the slow-downs below" if smallest is None else f"slow-downs of {100 * smallest:g}% and more"
    sentences = (
        f"Against itself, `{certificate.strategy}` was called faster or slower in {alarms.found} of {alarms.count} "
        f"comparisons, false alarms at a rate of {_rate(alarms)} ({certificate.made[:10]}, {certificate.device}, "
        f"{certificate.model}, {certificate.dtype}, batch {certificate.batch}, objects {certificate.objects}{code}; "
        f"`python -m harness.certify`). Slowed down by a known share, the harness reliably found {found}."
    )
    rows = [
        [f"{100 * effect.slowdown:g}%", f"{one.found} of {one.count}", _rate(one), f"{effect.median_speedup:.3f}"]
        for effect in certificate.effects
        for one in [effect.detected]
    ]
    table = markdown_table(["slowed down by", "found", "rate (95% interval)", "median speed-up"], rows)
    return _Told(device=certificate.device, made=made, text="\n\n".join([sentences, *([table] if rows else [])]))


def _rate(share: Share) -> str:
    return f"{share.rate:.1%} ({share.lo:.1%}-{share.hi:.1%})"

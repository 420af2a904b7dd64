"""How far the harness can be trusted on a device: what ``python -m harness.certify`` found there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.store.certificate import Certificate, Share
from report.reading.run import Run, read_object
from report.render.document import Block, Column, Paragraph, Table, number, words


def certificate_blocks(run: Run) -> tuple[Block, ...]:
    """The newest certificate of the run's device, or how to get one."""
    device = str(run.environment.get("device", "this device"))
    of_device = [one for one in _certificates(run.folder.resolve().parent / "certificates") if one.device == device]
    if of_device:
        return max(of_device, key=lambda one: one.made).blocks
    return (Paragraph(text=f"There is no certificate for {device} yet: `python -m harness.certify` makes one."),)


@dataclass(frozen=True, kw_only=True)
class _Told:
    device: str
    made: datetime
    blocks: tuple[Block, ...]


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
    rows = tuple(
        (
            number(effect.slowdown, lambda share: f"{100 * share:g}%"),
            words(f"{one.found} of {one.count}"),
            words(_rate(one)),
            number(effect.median_speedup, "{:.3f}"),
        )
        for effect in certificate.effects
        for one in [effect.detected]
    )
    columns = tuple(
        Column(title=title) for title in ("slowed down by", "found", "rate (95% interval)", "median speed-up")
    )
    table = Table(columns=columns, rows=rows)
    return _Told(device=certificate.device, made=made, blocks=(Paragraph(text=sentences), *([table] if rows else [])))


def _rate(share: Share) -> str:
    return f"{share.rate:.1%} ({share.lo:.1%}-{share.hi:.1%})"

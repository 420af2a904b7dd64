"""How reliably the harness finds differences in speed on a device, as ``python -m harness.certify`` measured it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.store.certificate import Certificate, Share
from report.reading.run import Run, read_object
from report.render.document import Block, Column, Paragraph, Table, number, words


def certificate_blocks(run: Run) -> tuple[Block, ...]:
    """Return the newest certificate of the run's device, or a sentence that says how to make one."""
    device = str(run.environment.get("device", "this device"))
    of_device = [one for one in _certificates(run.folder.resolve().parent / "certificates") if one.device == device]
    if of_device:
        return max(of_device, key=lambda one: one.made).blocks
    return (Paragraph(text=f"There is no certificate for {device} yet: `python -m harness.certify` makes one."),)


@dataclass(frozen=True, kw_only=True)
class _Summary:
    """A certificate as the report shows it."""

    device: str
    made: datetime
    blocks: tuple[Block, ...]


def _certificates(folder: Path) -> list[_Summary]:
    """Read a folder's certificates, without those that are damaged."""
    found = []
    for path in sorted(folder.glob("*.json")):
        content = read_object(path)
        if content is None:
            continue
        try:
            found.append(_summarized(content))
        except (ValueError, OverflowError):  # The certificate is damaged, or of no year that there was.
            continue
    return found


def _summarized(content: dict[str, Any]) -> _Summary:
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
    blocks: tuple[Block, ...] = (Paragraph(text=sentences), *([table] if rows else []))
    return _Summary(device=certificate.device, made=made, blocks=blocks)


def _rate(share: Share) -> str:
    return f"{share.rate:.1%} ({share.lo:.1%}-{share.hi:.1%})"

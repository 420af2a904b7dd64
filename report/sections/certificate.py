"""The certificates of a device: how reliably the harness finds differences in speed, and mistakes in masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.store.certificate import Certificate, Share
from harness.store.mask_certificate import Found, Honest, MaskCertificate
from report.reading.run import Run, read_object
from report.render.document import Block, Cell, Column, Paragraph, Table, number, words


@dataclass(frozen=True, kw_only=True)
class _Summary:
    """A certificate as the report shows it."""

    device: str
    made: datetime
    blocks: tuple[Block, ...]


def certificate_blocks(run: Run) -> tuple[Block, ...]:
    """Return the newest certificate of the run's device, or a sentence that says how to make one."""
    return _newest(run, _of_timing) or (
        Paragraph(text=f"There is no certificate for {_device(run)} yet: `python -m harness.certify` makes one."),
    )


def mask_certificate_blocks(run: Run) -> tuple[Block, ...]:
    """Return the same of the certificate of the judgement of masks."""
    return _newest(run, _of_masks) or (
        Paragraph(
            text=f"There is no certificate of the judgement of masks for {_device(run)} yet: "
            "`python -m harness.certify masks` makes one."
        ),
    )


def _device(run: Run) -> str:
    return str(run.environment.get("device", "this device"))


def _newest(run: Run, summarized: Callable[[dict[str, Any]], _Summary]) -> tuple[Block, ...]:
    """Return the newest certificate of one kind for the run's device, or nothing where there is none.

    summarized: makes the summary of such a certificate; it raises for other kinds and for damaged ones.
    """
    found = []
    for path in sorted((run.folder.resolve().parent / "certificates").glob("*.json")):
        content = read_object(path)
        if content is None:
            continue
        try:
            found.append(summarized(content))
        except (ValueError, TypeError, AttributeError, OverflowError):  # It is another kind, or damaged.
            continue
    of_device = [one for one in found if one.device == _device(run)]
    return max(of_device, key=lambda one: one.made).blocks if of_device else ()


def _of_timing(content: dict[str, Any]) -> _Summary:
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


def _of_masks(content: dict[str, Any]) -> _Summary:
    certificate = MaskCertificate.from_json(content)
    dtypes = [one.dtype for one in certificate.honest]
    code = f", code {certificate.git_commit[:8]}" if certificate.git_commit else ""
    sentences = (
        "Of strategies with a planted mistake, the harness called wrong "
        f"{'; '.join(_caught(certificate, dtype) for dtype in dtypes)}. Of exact strategies on drawn groups it called "
        f"wrong {'; '.join(map(_honest, certificate.honest))} ({certificate.made[:10]}, {certificate.device}, "
        f"{certificate.model}{code}; `python -m harness.certify masks`)."
    )
    columns = [Column(title="planted mistake", words=True)]
    for dtype in dtypes:
        columns.append(Column(title=f"in {dtype}", words=True))
        columns += [Column(title=f"{title}, {dtype}") for title in ("size", "noise floor")]
    rows = tuple(
        (words(fault.name), *(cell for dtype in dtypes for cell in _found(fault.by_dtype.get(dtype))))
        for fault in certificate.faults
    )
    return _Summary(
        device=certificate.device,
        made=datetime.fromisoformat(certificate.made).astimezone(),
        blocks=(Paragraph(text=sentences), Table(columns=tuple(columns), rows=rows)),
    )


def _caught(certificate: MaskCertificate, dtype: str) -> str:
    found = [fault.by_dtype[dtype] for fault in certificate.faults if dtype in fault.by_dtype]
    alone = sum(one.in_fp32 for one in found)
    also = f", {alone} of them by the certification in fp32 alone" if alone else ""
    return f"{sum(one.caught for one in found)} of {len(found)} in {dtype}{also}"


def _honest(one: Honest) -> str:
    used = "" if one.share_of_limits is None else f" (they use at most {one.share_of_limits:.0%} of a limit)"
    return f"{one.wrong.found} of {one.wrong.count} in {one.dtype}{used}"


def _found(found: Found | None) -> tuple[Cell, Cell, Cell]:
    if found is None:
        return words(None), words(None), words(None)
    verdict = "passed" if not found.caught else "caught, in fp32" if found.in_fp32 else "caught"
    return words(verdict), number(found.size, "{:.1e}"), number(found.floor, "{:.1e}")

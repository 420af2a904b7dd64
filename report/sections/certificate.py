"""The certificates of a device: how reliably the harness finds differences in speed, and mistakes in masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.schema import read_object
from harness.store.certificate import Certificate, Share, in_words
from harness.store.mask_certificate import Found, Honest, MaskCertificate
from report.reading.run import Run
from report.render.document import Block, Cell, Column, Paragraph, Table, filled, number, words


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
    """Return the same of the certificate of the check of masks."""
    return _newest(run, _of_masks) or (
        Paragraph(
            text=f"There is no certificate of the check of masks for {_device(run)} yet: "
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
    text = " ".join(filter(None, [sentences, _of_neighbours(certificate), _incomplete(certificate)]))
    made_of = (Paragraph(text=text), _effects(certificate), *_gate(certificate))
    blocks = tuple(block for block in made_of if block is not None)
    return _Summary(device=certificate.device, made=made, blocks=blocks)


def _of_neighbours(certificate: Certificate) -> str:
    beside = certificate.beside
    if beside is None:
        return ""
    alarms = beside.false_alarms
    return (
        f"All of this was measured once more {in_words(beside.neighbours)}, with {alarms.found} false alarms in "
        f"{alarms.count} comparisons, {_rate(alarms)}."
    )


def _incomplete(certificate: Certificate) -> str:
    if certificate.planned == certificate.compared or certificate.minutes is None:
        return ""
    return (
        f"It is not complete: {certificate.compared} of {certificate.planned} comparisons came to an end within its "
        f"{certificate.minutes:g} minutes."
    )


def _effects(certificate: Certificate) -> Table | None:
    """Make the table of what was found of slow-downs; it names conditions only where there are several."""
    rows = [(condition, effect) for condition, rates in certificate.conditions for effect in rates.effects]
    return filled(
        [
            *_conditions(certificate, [condition for condition, _ in rows]),
            (Column(title="slowed down by"), [number(effect.slowdown, _percent) for _, effect in rows]),
            (Column(title="found"), [_counted(effect.detected) for _, effect in rows]),
            (Column(title="rate (95% interval)"), [words(_rate(effect.detected)) for _, effect in rows]),
            (Column(title="median speed-up"), [number(effect.median_speedup, "{:.3f}") for _, effect in rows]),
        ]
    )


def _gate(certificate: Certificate) -> tuple[Block | None, ...]:
    """Say what the gate's rule says of pairs of measurements before it measures any for longer."""
    rows = [(condition, one) for condition, rates in certificate.conditions for one in rates.gate]
    margin = "" if certificate.gate_margin is None else f" (margin {certificate.gate_margin:.0%})"
    if not rows:
        return ()
    about = (
        f"The regression gate{margin} said this of pairs of measurements, the second slowed down by a known share, "
        "before it measures longer what is unclear:"
    )
    table = filled(
        [
            *_conditions(certificate, [condition for condition, _ in rows]),
            (Column(title="slowed down by"), [number(one.slowdown, _percent) for _, one in rows]),
            (Column(title="regressed"), [_counted(one.regressed) for _, one in rows]),
            (Column(title="rate (95% interval)"), [words(_rate(one.regressed)) for _, one in rows]),
            (Column(title="passed"), [_counted(one.passed) for _, one in rows]),
        ]
    )
    return Paragraph(text=about), table


def _conditions(certificate: Certificate, named: list[str]) -> list[tuple[Column, list[Cell]]]:
    if certificate.beside is None:
        return []
    return [(Column(title="measured", words=True), [words(one) for one in named])]


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _counted(share: Share) -> Cell:
    return words(f"{share.found} of {share.count}")


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

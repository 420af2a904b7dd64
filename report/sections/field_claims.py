"""What literature and field notes claim, beside measurements; for the experiments that have claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from harness.row import SETTING
from harness.stats.interval import Interval
from report.reading.run import Run, finite
from report.render.document import Column, Paragraph, Section, Table, words
from report.sections.claim_findings import (
    ABOUT,
    Finding,
    NotMeasuredError,
    about,
    all_of,
    any_of,
    baseline_fps,
    fps_of,
    memory_of,
    milliseconds_of,
    point_of,
    shown,
    speedup_of,
    within,
)
from report.sections.points_table import memory_column
from report.sections.stream_claims import frames_memory, frames_speed
from strategies.components.stage_names import MASK_DECODER, MEMORY_ATTENTION

IN_A_TABLE = [name for name in SETTING if name not in ("refs", "targets", "scenario")]
"""Columns in which the points of one table agree; all claims of an experiment are of one scenario."""
LITTLE = 1.25
"""The speed-up below which a claimed "little speed-up" is confirmed."""
NOTICED = 0.05
"""Smaller shares of memory count as no difference, because repeated peaks of one process vary by some percent."""
SPEED_OF_FRAMES = "8, 12 and 16 memory frames run at 44, 38 and 30 fps (as ratios)"
MEMORY_OF_FRAMES = "8 and 16 memory frames take 1.8 and 3.6 GB"
CLAIMED_ON, TOY = "H100", "toy"

Check = Callable[[Run, pd.DataFrame], Finding]
"""Compares a claim with a run's points of one model, data, device and dtype; raises NotMeasuredError if one is
missing."""


def claims_section(run: Run) -> Section | None:
    """Return None for runs of anything but an experiment of such claims."""
    experiments = [claims for name, claims in EXPERIMENTS.items() if name in run.stored("config", "experiment")]
    if not experiments:
        return None
    # A point that did not finish has no device in its row.
    summary = run.summary.assign(device=run.summary["device"].fillna(run.device))
    tables = (
        _table(run, points, ", ".join(map(str, setting)), claims)
        for scenario, claims in experiments
        for setting, points in summary[summary["scenario"] == scenario].groupby(IN_A_TABLE, dropna=False)
    )
    note = (
        "A verdict holds for the model and device in its table's title; the claims were made of models of full size, "
        "beside which the toy model is tiny. Speeds are compared as ratios of one run. A claimed range is taken as it "
        f"stands, a single number as {ABOUT:.2f} times less to {ABOUT:.2f} times more, 'little' as less than "
        f"{LITTLE:.2f} times. The whole 95 % interval must be inside to confirm, or outside to refute; what is not "
        "clear becomes clearer with `timing.max_seconds=60`. Memory and utilisation are measured once and have no "
        "interval."
    )
    return Section.of("The field's claims", *tables, Paragraph(text=note, quiet=True))


def _table(run: Run, points: pd.DataFrame, title: str, claims: Mapping[str, Check]) -> Table:
    findings = [(claim, _found(check, run, points)) for claim, check in claims.items()]
    return Table(
        columns=tuple(Column(title=title, words=True) for title in ("claim", "verdict", "measured", "why")),
        rows=tuple((words(claim), words(one.verdict), words(one.measured), words(one.why)) for claim, one in findings),
        title=title,
    )


def _found(check: Check, run: Run, points: pd.DataFrame) -> Finding:
    try:
        return check(run, points)
    except NotMeasuredError as missing:
        return Finding(measured="", verdict="not testable here", why=str(missing))


def _rebuild(_: Run, points: pd.DataFrame) -> Finding:
    """Check the claim at each number of references: it does not state its own, on which the slow-down depends."""
    found = {refs: speedup_of(point_of(points, "rebuild", refs=refs)) for refs in (8, 12, 16)}
    slower = {refs: Interval(value=1 / one.value, lo=1 / one.hi, hi=1 / one.lo) for refs, one in found.items()}
    return any_of(*(about(f"{refs} references", one, 23) for refs, one in slower.items()))


def _batches(_: Run, points: pd.DataFrame) -> Finding:
    found = {batch: speedup_of(point_of(points, "direct", "shared", batch=batch, refs=8)) for batch in (8, 16)}
    return all_of(*(within(f"batch {batch}", one, 3, 7) for batch, one in found.items()))


def _rates(_: Run, points: pd.DataFrame) -> Finding:
    rows = {
        "rebuild": point_of(points, "rebuild", refs=8),
        "sequential": point_of(points, "sequential", refs=8),
        "batch 8": point_of(points, "direct", "shared", batch=8, refs=8),
        "batch 16": point_of(points, "direct", "shared", batch=16, refs=8),
    }
    measured = "; ".join(f"{name}: {fps_of(row):.3g}" for name, row in rows.items())
    why = "the claims do not name their machine, model and objects: their ratios are checked above"
    return Finding(measured=measured, verdict="not testable here", why=why)


def _utilisation(_: Run, points: pd.DataFrame) -> Finding:
    share = finite(point_of(points, "sequential", refs=8)["gpu_util_mean"])
    if share is None:
        raise NotMeasuredError("needs a GPU whose utilisation can be read")
    return about("percent", Interval.exact(share), 50)


def _stage(run: Run, points: pd.DataFrame, *, keys: tuple[str, ...], claimed: float) -> Finding:
    """Check a stage's call in `sequential`: one object in one target, or one frame for the encoder."""
    row = point_of(points, "sequential", refs=8)
    found = milliseconds_of(run, row, *keys)
    if CLAIMED_ON in str(row["device"]) and row["model"] != TOY:
        return about("ms a call", found, claimed)
    why = f"needs an {CLAIMED_ON} and a model of full size"
    return Finding(measured=shown("ms a call", found), verdict="not testable here", why=why)


def _frames_speed(run: Run, points: pd.DataFrame) -> Finding:
    """Check how the fps of `sequential` falls with more frames.

    The range for 12 frames ends at 1, because more frames never make the strategy faster.
    """
    objects = point_of(points, "sequential", refs=8)["objects"]
    few, some, many = (baseline_fps(run, points, refs=refs, objects=objects) for refs in (8, 12, 16))
    return all_of(
        *(
            within(name, Interval(value=fps.value / few.value, lo=fps.lo / few.hi, hi=fps.hi / few.lo), lo, hi)
            for name, fps, (lo, hi) in (
                ("12 / 8", some, (38 / 44 / ABOUT, 1)),
                ("16 / 8", many, (30 / 44 / ABOUT, 30 / 44 * ABOUT)),
            )
        )
    )


def _frames_memory(_: Run, points: pd.DataFrame) -> Finding:
    few, many = (memory_of(points, point_of(points, "sequential", batch=8, refs=refs)) for refs in (8, 16))
    found = Interval.exact(many / few)
    if memory_column(points) == "vram_peak_mb":
        return about("16 / 8", found, 3.6 / 1.8)
    why = "needs a GPU: most of a process's resident memory is not the model's"
    return Finding(measured=shown("16 / 8", found), verdict="not testable here", why=why)


def _sessions(_: Run, points: pd.DataFrame) -> Finding:
    """Check that memory grows with B and with the bank.

    B: a further session must cost as much from 1 to 8 as from 8 to 16. The bank: a session must cost more with more
    references, though not twice as much with twice as many, because a session is more than its bank.
    """

    def peak(batch: int, refs: int) -> float:
        return memory_of(points, point_of(points, "multi_session", batch=batch, refs=refs))

    one, eight, sixteen, first, last = peak(1, 8), peak(8, 8), peak(16, 8), peak(1, 16), peak(16, 16)
    early, late, larger = (eight - one) / 7, (sixteen - eight) / 8, (last - first) / 15
    measured = f"MB a session: {early:.1f} (1 to 8), {late:.1f} (8 to 16); {larger:.1f} with 16 references for 8"
    if sixteen - one < NOTICED * one:
        why = f"15 sessions more take less than {NOTICED:.0%} more memory: the model is too small"
        return Finding(measured=measured, verdict="not testable here", why=why)
    if not 0 < max(early, late) <= 1.5 * min(early, late):
        return Finding(measured=measured, verdict="refuted", why="sessions do not add the same")
    if larger < (1 + NOTICED) * (sixteen - one) / 15:
        return Finding(measured=measured, verdict="refuted", why="a larger bank does not make a session larger")
    return Finding(measured=measured, verdict="confirmed", why="each session adds about as much, more with more frames")


def _extended(_: Run, points: pd.DataFrame) -> Finding:
    found = speedup_of(point_of(points, "extended_session", batch=8, refs=8))
    return within("batch 8", found, 0, LITTLE)


def _broadcasting(_: Run, points: pd.DataFrame) -> Finding:
    most = points[points["objects"] == points["objects"].max()]
    shared, repeated = (
        memory_of(most, point_of(most, "direct", bank, batch=16, refs=8)) for bank in ("shared", "repeat")
    )
    measured = f"MB: {shared:.0f} shared, {repeated:.0f} repeated"
    if abs(repeated - shared) < NOTICED * shared:
        return Finding(measured=measured, verdict="not testable here", why=f"less than {NOTICED:.0%} apart")
    if shared < repeated:
        return Finding(measured=measured, verdict="confirmed", why=f"{repeated - shared:.0f} MB less at batch 16")
    return Finding(measured=measured, verdict="refuted", why=f"{shared - repeated:.0f} MB more at batch 16")


CLAIMS: dict[str, Check] = {
    "rebuild is 23 times slower than sequential": _rebuild,
    "batches of 8 to 16 are 3 to 7 times as fast as sequential": _batches,
    "fps: rebuild 0.19, sequential 4.34, batches of 8 to 16 15 to 30": _rates,
    "sequential uses about 50 % of a GPU": _utilisation,
    "memory attention takes about 3 ms on an H100": partial(_stage, keys=("calls", MEMORY_ATTENTION), claimed=3),
    "the mask decoder takes about 5 ms on an H100": partial(_stage, keys=("calls", MASK_DECODER), claimed=5),
    "the vision encoder takes about 15 ms on an H100": partial(_stage, keys=("encode",), claimed=15),
    SPEED_OF_FRAMES: _frames_speed,
    MEMORY_OF_FRAMES: _frames_memory,
    "multi-session's memory grows as B x bank": _sessions,
    "an extended session gives little speed-up": _extended,
    "broadcasting the bank takes less memory than repeating it": _broadcasting,
}
STREAM_CLAIMS: dict[str, Check] = {SPEED_OF_FRAMES: frames_speed, MEMORY_OF_FRAMES: frames_memory}
EXPERIMENTS: dict[str, tuple[str, Mapping[str, Check]]] = {
    "field_claims": ("predict", CLAIMS),
    "memory_frames": ("stream", STREAM_CLAIMS),
}
"""The scenario and the claims of each experiment."""

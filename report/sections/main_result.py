"""What the report begins with: the finding as its title, one large figure, and the ranks of all strategies."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from report.reading.mask_status import masks_of
from report.reading.run import MEASURED, Run
from report.reading.samples import fps_interval
from report.render.document import Document, MainResult, Rank, Section
from report.render.style import objects_title, positive
from report.sections.points_table import memory_column, starred, whole_job, with_interval
from report.sections.verdict import COMPARED_IN, Choice, choices

MOST_RANKS = 12
"""At most so many strategies are ranked before everything else; the tables have all."""
ROUND_FROM = 2.0
"""Speed-ups from here on are told with one digit behind the point, smaller ones with two."""
ASKED = ("refs", "targets")
"""Columns in which a point that failed has what was asked for, and not what there was."""
WITHOUT_SPEED = {
    "oom": "ran out of memory",
    "timeout": "ran out of time",
    "crash": "crashed",
    "wrong": "wrong masks",
    "skipped": "not tried here",
}
"""Why there is no bar, by how a point ended."""


def document_of(run: Run, sections: Sequence[Section]) -> Document:
    """Make the report of its sections."""
    found = choices(run)
    models, sources = (" and ".join(map(str, run.summary[name].dropna().unique())) for name in ("model", "data"))
    parts = [f"{models} on {sources} data" if models and sources else "", run.device, f"run {run.name}"]
    return Document(
        title=_title(run, found[-1]) if found else _nothing(run),
        about=", ".join(filter(None, parts)),
        main_result=_main_result(run, found[-1]) if found else None,
        sections=tuple(sections),
    )


def _title(run: Run, choice: Choice) -> str:
    row = choice.row
    varied = pd.notna(row["objects"]) and run.summary["objects"].nunique() > 1
    setting = f", {objects_title(row['objects'])}" if varied else ""
    name = f"{row['in_setting']}, batch {row['batch']:.0f}{setting}"
    if not choice.paired:
        return f"{name}: {row['fps']:,.1f} targets/s"
    if not choice.clear:
        return f"Nothing is clearly faster than {row['reference']}{setting}"
    sight = "" if choice.firm else "at first sight "
    return f"{name}: {sight}{_times(row)} times as fast as {_baseline(row)}"


def _nothing(run: Run) -> str:
    counts = run.summary["status"].value_counts()
    return f"Nothing can be recommended: {', '.join(f'{count} {status}' for status, count in counts.items())}"


def _main_result(run: Run, choice: Choice) -> MainResult:
    row = choice.row
    ranks = _ranks(run, choice)
    return MainResult(
        figure=f"{_times(row)}\N{MULTIPLICATION SIGN}" if choice.paired else f"{row['fps']:,.1f}",
        of=f"as fast as {_baseline(row)}" if choice.paired else "targets per second",
        facts=tuple(_facts(run, choice)),
        doubt=_doubt(choice),
        scale=f"times as fast as {_baseline(row)}" if choice.paired else "targets per second",
        ranks=ranks[:MOST_RANKS],
        even=1.0 if choice.paired else None,
        left_out=max(0, len(ranks) - MOST_RANKS),
    )


def _doubt(choice: Choice) -> str:
    if not choice.firm:
        return "A first impression: points were not measured long enough."
    if choice.paired and not choice.clear:
        return f"This is the best, and not clearly faster than {choice.row['reference']}."
    return "" if choice.paired else "Not timed in turns with a baseline, so a machine that wavered may have chosen it."


def _facts(run: Run, choice: Choice) -> list[str]:
    row, memory = choice.row, memory_column(run.summary)
    facts = [f"{row['in_setting']}, batch {row['batch']:.0f}"]
    if pd.notna(row["objects"]):
        facts.append(objects_title(row["objects"]))
    if choice.paired and pd.notna(row["speedup_lo"]) and pd.notna(row["speedup_hi"]):
        facts.append(f"95% interval {row['speedup_lo']:.2f} to {row['speedup_hi']:.2f}")
    facts.append("same masks" if choice.compared else "masks not compared")
    if pd.notna(row[memory]):
        facts.append(f"{row[memory]:,.0f} MB of {'GPU memory' if memory.startswith('vram') else 'memory'}")
    return facts


def _ranks(run: Run, choice: Choice) -> tuple[Rank, ...]:
    """Rank everything that has the setting of the choice, each by its best point; who has no speed comes last."""
    summary = run.summary
    # What ended badly knows what was asked for alone, such as targets of each group, and not how many these are.
    failed = ~summary["status"].isin(MEASURED)
    alike = [
        (summary[name] == choice.row[name]) | summary[name].isna() | (failed & (name in ASKED)) for name in COMPARED_IN
    ]
    here = summary[pd.concat(alike, axis=1).all(axis=1)]
    ranks = [_rank(run, points, choice) for _, points in here.groupby("in_setting")]
    return tuple(sorted(ranks, key=lambda rank: (rank.value is None, -(rank.value or 0), rank.name)))


def _rank(run: Run, points: pd.DataFrame, choice: Choice) -> Rank:
    name = str(points["in_setting"].iloc[0])
    speed, by = ("speedup", "speedup_lo") if choice.paired else ("fps", "fps")
    timed = points[(points["status"] == "ok") & positive(points[speed])]
    timed = timed.assign(sound=[masks_of(run, row) != "differ" for _, row in timed.iterrows()])
    if timed.empty:
        statuses = points["status"].value_counts()
        return Rank(name=name, text=WITHOUT_SPEED.get(str(statuses.index[0]), "no speed-up"))
    chosen = timed[timed["point"] == choice.row["point"]]
    row = (timed.sort_values(["sound", by, speed], ascending=False) if chosen.empty else chosen).iloc[0]
    lo, hi, text = _speed(run, row, paired=choice.paired)
    return Rank(
        name=name,
        detail=f"batch {row['batch']:.0f}",
        value=float(row[speed]),
        lo=lo,
        hi=hi,
        text=text,
        note="" if row["sound"] else "other masks",
        best=choice.row["point"] == row["point"],
        sound=bool(row["sound"]),
    )


def _speed(run: Run, row: pd.Series, *, paired: bool) -> tuple[float | None, float | None, str]:
    """Return both ends of a speed's interval, and how it is told."""
    if paired:
        lo, hi = (float(row[name]) if pd.notna(row[name]) else None for name in ("speedup_lo", "speedup_hi"))
        return lo, hi, with_interval(row) + starred(row, "speedup")
    interval = fps_interval(run, row)
    text = f"{row['fps']:,.1f}{starred(row, 'fps')}"
    return (None, None, text) if interval is None else (interval.lo, interval.hi, text)


def _times(row: pd.Series) -> str:
    if row["speedup"] < 0.1:
        return f"{row['speedup']:.2g}"
    return f"{row['speedup']:.{1 if row['speedup'] >= ROUND_FROM else 2}f}"


def _baseline(row: pd.Series) -> str:
    return f"a loop around {row['reference']}, for the whole job" if whole_job(row) else str(row["reference"])

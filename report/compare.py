"""Runs side by side: the same grid points, what became of them, and what changed around them.

Speed-ups are ratios taken within one run, so they can be compared between runs and between machines. Frames per second
can't: they are shown only where all runs are of one machine, and they get no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import pandas as pd

from harness.options.shipped import shipped
from harness.stats.interval import Interval, quotient
from harness.stats.speedup import SpeedUp, Verdict, verdict
from harness.store.atomic import write_whole
from report.matching import Matched, Point, matched
from report.reading.mask_status import masks_of
from report.reading.run import Run, dig, read_run
from report.render.document import Bullets, Cell, Column, Document, Paragraph, Section, Table, filled, number, words
from report.render.html import render_html
from report.render.markdown import render_markdown
from report.sections.environment import facts
from report.sections.points_table import column_cell, memory_column, ratio, with_ends, with_interval
from report.sections.speed_against_batch import same_bands
from strategies.errors import UserError

MACHINE = ("device", "GPU", "CPU", "CPU flags", "threads used", "platform")
"""Facts of the environment that must be equal for two runs to be of one machine."""
CellOf = Callable[[Run, pd.Series], Cell]
"""A function that makes a cell from a run and a row of its summary."""
DEFAULT_BAND: float = shipped()["timing"]["same"]
"""By how much speeds may differ and still count as the same, where no run stored its own."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The runs of a comparison, of which the first is what the others are held against, and how their points match."""

    runs: tuple[Run, ...]
    points: Matched

    @property
    def letters(self) -> str:
        """A letter for each run, by which texts and columns call it."""
        return ascii_uppercase[: len(self.runs)]

    @property
    def one_machine(self) -> bool:
        return all(one_machine(self.runs[0], run) for run in self.runs)

    @property
    def band(self) -> float:
        return max([band for run in self.runs for band in same_bands(run)], default=DEFAULT_BAND)

    def verdict(self, match: tuple[Point | None, ...], at: int) -> Verdict | str:
        """Return what became of a grid point in a run, by its place, against the first; "" where it has no speed-up."""
        before, after = match[0], match[at]
        if before is None or after is None:
            return ""
        if before.row["status"] != after.row["status"]:
            return f"{before.row['status']}, now {after.row['status']}"
        change = speedup_ratio(before.row, after.row)
        if change is None:
            return "" if before.row["status"] == "ok" else str(before.row["status"])
        return verdict(SpeedUp(ratio=change.value, lo=change.lo, hi=change.hi, rounds=0), band=self.band)


def write_comparison(folders: Sequence[Path], output: Path | None = None, *, on: Sequence[str] = ()) -> str:
    """Compare runs' folders; returns what to print: the comparison, or the path of the file it was written to.

    on: see `comparison_of`. Raises UserError where a folder holds no run, or the output is neither .md nor .html or
    can't be written.
    """
    if len(folders) > len(ascii_uppercase):
        raise UserError(f"compare takes {len(ascii_uppercase)} runs at most, not {len(folders)}: leave some out")
    document = comparison_of(*map(read_run, folders), on=on)
    if output is None:
        return render_markdown(document).rstrip("\n")
    renderers = {".md": render_markdown, ".html": lambda made: render_html(made, {})}
    if output.suffix not in renderers:
        raise UserError(f"--output {output} is neither .md nor .html: give the file one of these endings")
    if not output.parent.is_dir():
        raise UserError(f"--output {output} can't be written: there is no folder {output.parent}, so make it")
    write_whole(output, renderers[output.suffix](document))
    return str(output)


def comparison_of(*runs: Run, on: Sequence[str] = ()) -> Document:
    """Compare runs. on: what has to be equal for points to be compared, as strategy and batch; empty for everything.

    Raises UserError where no point has what ``on`` names.
    """
    compared = Compared(runs=runs, points=matched(runs, on))
    sections = (
        Section.of("In short", Paragraph(text=_short(compared))),
        Section.of("The same points", _table(compared), Paragraph(text=_about(compared), quiet=True)),
        Section.of("In one run only", _alone(compared), _apart(compared)),
        Section.of("Not compared", _unclear(compared)),
        Section.of("What changed around them", _changes(compared)),
    )
    return Document(
        title=_joined([f"{run.name} ({letter})" for run, letter in zip(runs, compared.letters, strict=True)]),
        sections=tuple(section for section in sections if section is not None),
    )


def one_machine(first: Run, second: Run) -> bool:
    """Whether both runs recorded a device, and the same values for all facts that identify a machine."""
    before, after = facts(first.environment), facts(second.environment)
    return "device" in before and all(before.get(name) == after.get(name) for name in MACHINE)


def speedup_ratio(before: pd.Series, after: pd.Series) -> Interval | None:
    """Divide the second speed-up by the first; returns None where one of them has no interval."""
    try:
        return quotient(_interval(after), _interval(before))
    except ValueError:
        return None


def _interval(row: pd.Series) -> Interval:
    return Interval(value=row["speedup"], lo=row["speedup_lo"], hi=row["speedup_hi"])


def _short(compared: Compared) -> str:
    points = compared.points
    if not points.matches:
        kept = f": {points.kept_apart}" if points.kept_apart else ", so there is nothing to compare"
        common = f" `--on {','.join(points.common)}` compares what they have in common." if points.common else ""
        return f"The runs have no grid point in common{kept}.{common}"
    among = "both runs" if len(compared.runs) == 2 else f"two or more of {len(compared.runs)} runs"
    counts = [f"in {letter}, against A: {_counts(compared, at)}" for at, letter in enumerate(compared.letters) if at]
    what = f"{len(points.matches)} grid points are in {among}; {'; '.join(counts)}."
    return f"{what} {_matching(points)}{_where(compared)}"


def _matching(points: Matched) -> str:
    """Say, with a blank behind it, that points were matched by some of what identifies them, and what was not."""
    if not points.on:
        return ""
    differ = f", and differ in {points.overlooked}" if points.overlooked else ""
    return f"Points were matched by {_joined(points.on)} alone{differ}. "


def _counts(compared: Compared, at: int) -> str:
    found = [compared.verdict(match, at) for match in compared.points.matches if match[0] and match[at]]
    counts = pd.Series(found, dtype=object).value_counts()
    return ", ".join(f"{count} {name or 'without a speed-up'}" for name, count in counts.items()) or "no point"


def _where(compared: Compared) -> str:
    if compared.one_machine:
        known = facts(compared.runs[-1].environment).get("device", "an unknown device")
        return f"{'Both' if len(compared.runs) == 2 else 'All'} are of one machine, {known}, as far as they tell."
    devices = "; ".join(run.device for run in compared.runs)
    return (
        f"They are of different machines, or of settings that make them so ({devices}): frames per second are not "
        "compared, only ratios within a run."
    )


def _table(compared: Compared) -> Table | None:
    matches, letters = compared.points.matches, compared.letters
    memory = sorted({memory_column(run.summary) for run in compared.runs})

    def each(name: str, cell: CellOf, *, words: bool = False) -> list[tuple[Column, list[Cell]]]:
        """Make a column for each run."""
        return [
            (
                Column(title=f"{name} {letter}", words=words),
                [Cell() if (point := match[at]) is None else cell(run, point.row) for match in matches],
            )
            for at, (run, letter) in enumerate(zip(compared.runs, letters, strict=True))
        ]

    def against(at: int) -> list[tuple[Column, list[Cell]]]:
        change = "change" if len(letters) == 2 else f"change {letters[at]}"
        return [
            (
                Column(title=f"{letters[at]} against A", words=True),
                [words(compared.verdict(match, at) or None) for match in matches],
            ),
            (Column(title=change), [_change(match, at) for match in matches]),
        ]

    def plain(name: str) -> CellOf:
        return lambda _, row: column_cell(row, name)

    columns: list[tuple[Column, list[Cell]]] = [
        *_what(compared),
        *(column for at in range(1, len(letters)) for column in against(at)),
        *each("speedup", lambda _, row: number(row["speedup"], lambda _: with_interval(row))),
        *(each("fps", plain("fps")) if compared.one_machine else []),
        *(column for name in memory for column in each(name, plain(name))),
        *each("masks", lambda run, row: words(masks_of(run, row)), words=True),
        *each("iou_min", plain("iou_min")),
        *each("jf", plain("jf")),
    ]
    return filled(columns) if matches else None


def _what(compared: Compared) -> list[tuple[Column, list[Cell]]]:
    """Make the columns that say which grid point a row is."""
    matches, on = compared.points.matches, compared.points.on
    known = [[point for point in match if point is not None] for match in matches]
    if on:
        values = [dict(points[0].on(on)) for points in known]
        return [(Column(title=name, words=True), [words(one[name]) for one in values]) for name in on]

    def first_known(name: str) -> list[Cell]:
        filled_in = ([point.row for point in points if pd.notna(point.row[name])] for points in known)
        return [column_cell(rows[0], name) if rows else Cell() for rows in filled_in]

    return [
        (Column(title="strategy", words=True), [words(points[0].row["label"]) for points in known]),
        (Column(title="batch"), first_known("batch")),
        (Column(title="objects"), first_known("objects")),
    ]


def _change(match: tuple[Point | None, ...], at: int) -> Cell:
    before, after = match[0], match[at]
    change = None if before is None or after is None else speedup_ratio(before.row, after.row)
    return Cell() if change is None else Cell(text=with_ends(change), key=change.value)


def _about(compared: Compared) -> str:
    divided = "`change` is the speed-up in B" if len(compared.runs) == 2 else "A `change` is the speed-up in that run"
    about = (
        f"{divided} divided by that in A, with its 95% interval; it is `same` where the whole "
        f"interval lies within {ratio(1 / (1 + compared.band))} and {ratio(1 + compared.band)}, `faster` or `slower` "
        "where it lies on one side of 1, else `unclear`."
    )
    if compared.one_machine:
        return f"{about} `fps` is shown to be looked at: a machine differs from itself from hour to hour."
    return about


def _alone(compared: Compared) -> Bullets | None:
    lone = compared.points.lone
    items = tuple(f"{compared.letters[at]}: `{point.row['point']}`, {point.row['status']}" for at, point in lone)
    return Bullets(items=items) if items else None


def _apart(compared: Compared) -> Paragraph | None:
    kept = compared.points.kept_apart
    return Paragraph(text=f"What keeps them from matching: {kept}.") if kept and compared.points.matches else None


def _unclear(compared: Compared) -> Bullets | None:
    """Name the points of which a run has several that are equal in what was asked for."""
    on = compared.points.on
    counts = Counter((compared.letters[at], point.on(on)) for at, point in compared.points.unclear)
    items = tuple(
        f"{letter}: {count} points of {', '.join(f'{name} {value}' for name, value in key)}, of which it is not known "
        "which belong together: name more in `--on`"
        for (letter, key), count in counts.items()
    )
    return Bullets(items=items) if items else None


def _changes(compared: Compared) -> Paragraph | Table:
    of_runs: list[dict[str, str | None]] = [dict(facts(run.environment)) for run in compared.runs]
    names = list(dict.fromkeys(name for one in of_runs for name in one))
    for option in ("timing", "seed"):
        names.append(option)
        for run, one in zip(compared.runs, of_runs, strict=True):
            one[option] = _asked(run, option)
    rows = [(name, *(one.get(name) for one in of_runs)) for name in names]
    rows = [(name, *values) for name, *values in rows if any(value != values[0] for value in values)]
    if not rows:
        return Paragraph(text="Nothing that was recorded: device, versions, code, timing options.")
    return Table(
        columns=tuple(Column(title=title, words=True) for title in ("what", *compared.letters)),
        rows=tuple(tuple(words(value) for value in row) for row in rows),
    )


def _asked(run: Run, option: str) -> str | None:
    """Return the value of an option in a run's points: each different one, or None without points."""
    found = list(dict.fromkeys(str(dig(content, "config", option)) for content in run.points.values()))
    return " or ".join(found) or None


def _joined(names: Sequence[str]) -> str:
    """Join names as a sentence does: A, B and C."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

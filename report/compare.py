"""Two runs side by side: the same grid points, what became of them, and what changed around them.

Speed-ups are ratios taken within one run, so they can be compared between runs and between machines. Frames per second
can't: they are shown only where both runs are of one machine, and they get no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.options.shipped import shipped
from harness.options.words import BASELINE, option_of, parted, what_words, words_of
from harness.row import CATALOGUE
from harness.stats.interval import Interval, quotient
from harness.stats.speedup import SpeedUp, Verdict, verdict
from harness.store.atomic import write_whole
from harness.store.recorded import planned_names
from report.reading.mask_status import masks_of
from report.reading.run import Run, dig, read_run
from report.render.document import Bullets, Cell, Column, Document, Paragraph, Section, Table, filled, number, words
from report.render.html import render_html
from report.render.markdown import render_markdown
from report.sections.environment import facts
from report.sections.points_table import column_cell, memory_column, ratio, with_ends, with_interval
from report.sections.speed_against_batch import same_bands
from strategies.errors import UserError

SAME_POINT = tuple(name for name, column in CATALOGUE.items() if column.identifies)
"""Columns whose values identify a grid point across runs, together with the baseline strategy it is timed against and
the options that have no column."""
MACHINE = ("device", "GPU", "CPU", "CPU flags", "threads used", "platform")
"""Facts of the environment that must be equal for two runs to be of one machine."""
DEFAULT_BAND: float = shipped()["timing"]["same"]
"""By how much speeds may differ and still count as the same, where neither run stored its own."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One grid point in both runs."""

    first: pd.Series
    second: pd.Series


def write_comparison(first: Path, second: Path, output: Path | None) -> str:
    """Compare two runs' folders; returns what to print: the comparison, or the path of the file it was written to.

    Raises UserError where a folder holds no run, or the output is neither .md nor .html or can't be written.
    """
    document = comparison_of(read_run(first), read_run(second))
    if output is None:
        return render_markdown(document).rstrip("\n")
    renderers = {".md": render_markdown, ".html": lambda made: render_html(made, {})}
    if output.suffix not in renderers:
        raise UserError(f"--output {output} is neither .md nor .html: give the file one of these endings")
    if not output.parent.is_dir():
        raise UserError(f"--output {output} can't be written: there is no folder {output.parent}, so make it")
    write_whole(output, renderers[output.suffix](document))
    return str(output)


def comparison_of(first: Run, second: Run) -> Document:
    pairs, lone = _pairs(first, second)
    sections = (
        Section.of("In short", Paragraph(text=_short(first, second, pairs))),
        Section.of("The same points", _table(first, second, pairs), Paragraph(text=_about(first, second), quiet=True)),
        Section.of("In one run only", Bullets(items=tuple(lone)) if lone else None),
        Section.of("What changed around them", _changes(first, second)),
    )
    return Document(
        title=f"{first.name} (A) and {second.name} (B)",
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


def _pairs(first: Run, second: Run) -> tuple[list[Pair], list[str]]:
    """Return the points that both runs have, in the first's order, and a line for each point that only one has."""
    crowded = _crowded(first) | _crowded(second)
    of_first, of_second = _by_point(first, crowded), _by_point(second, crowded)
    pairs = [Pair(first=row, second=of_second[key]) for key, row in of_first.items() if key in of_second]
    lone = [f"A: `{row['point']}`, {row['status']}" for key, row in of_first.items() if key not in of_second]
    lone += [f"B: `{row['point']}`, {row['status']}" for key, row in of_second.items() if key not in of_first]
    return pairs, lone


def _by_point(run: Run, crowded: Set[tuple[str, ...]]) -> dict[tuple[str, ...], pd.Series]:
    """Index a run's rows by what identifies a grid point; of a point measured again, the last result counts."""
    rows = [row for _, row in run.summary.iterrows()]
    keys = [_key(run, row) for row in rows]
    return {(*key, *_how(run, row)) if key in crowded else key: row for key, row in zip(keys, rows, strict=True)}


def _crowded(run: Run) -> set[tuple[str, ...]]:
    """Return the keys that several points of one sweep have, because they differ in how they were measured alone."""
    asked = set(planned_names(run.folder))
    counts = Counter(_key(run, row) for _, row in run.summary.iterrows() if row["point"] in asked)
    return {key for key, count in counts.items() if count > 1}


def _key(run: Run, row: pd.Series) -> tuple[str, ...]:
    """Return what identifies a row's grid point.

    Counts and the baseline strategy are taken from a point's options where these are known, because a point that failed
    stores neither how many objects "all" is nor its baseline.
    """
    asked = {name: run.of(row, "config", name) for name in ("objects", "refs", "targets")}
    values = [asked[name] if name in asked and run.of(row, "config") else row[name] for name in SAME_POINT]
    values += [_baseline(run, row), *sorted(_anywhere(word) for word in what_words(_words(run, row)))]
    return tuple("" if value is None or pd.isna(value) else str(value) for value in values)


def _how(run: Run, row: pd.Series) -> list[str]:
    """Return the options that say how the point was measured, rather than what."""
    words = _words(run, row)
    return sorted(set(words) - set(what_words(words)))


def _words(run: Run, row: pd.Series) -> list[str]:
    """Return the point's options that have no column; where the row is older than such a column, its file has them."""
    options = run.of(row, "config")
    stored = words_of(options) if isinstance(options, dict) else []
    listed = parted(row["options"]) if pd.notna(row["options"]) else stored
    return [word for word in listed if option_of(word) != BASELINE]


def _anywhere(word: str) -> str:
    """Name a folder by its last part, because where it lies differs from machine to machine."""
    option, _, value = word.partition("=")
    return f"{option}={Path(value).name}" if option in ("data.root", "model.weights") else word


def _baseline(run: Run, row: pd.Series) -> str | None:
    """Identify the baseline strategy by its class, which failed points store too, or else by its name."""
    target = run.of(row, "config", "baseline", "_target_") or run.of(row, "config", "reference", "_target_")
    if not isinstance(target, str):
        return row["reference"]
    return None if run.of(row, "config", "paired") is False else target


def _verdict(first: Run, second: Run, pair: Pair) -> Verdict | str:
    if pair.first["status"] != pair.second["status"]:
        return f"{pair.first['status']}, now {pair.second['status']}"
    change = speedup_ratio(pair.first, pair.second)
    if change is None:
        return "" if pair.first["status"] == "ok" else str(pair.first["status"])
    measured = SpeedUp(ratio=change.value, lo=change.lo, hi=change.hi, rounds=0)
    return verdict(measured, band=_band(first, second))


def _band(first: Run, second: Run) -> float:
    return max([*same_bands(first), *same_bands(second)], default=DEFAULT_BAND)


def _short(first: Run, second: Run, pairs: list[Pair]) -> str:
    if not pairs:
        return "The runs have no grid point in common, so there is nothing to compare."
    verdicts = pd.Series([_verdict(first, second, pair) for pair in pairs])
    counts = ", ".join(f"{count} {name or 'without a speed-up'}" for name, count in verdicts.value_counts().items())
    known = facts(second.environment).get("device", "an unknown device")
    where = (
        f"Both are of one machine, {known}, as far as they tell."
        if one_machine(first, second)
        else f"They are of different machines, or of settings that make them so ({first.device}; {second.device}): "
        "frames per second are not compared, only ratios within a run."
    )
    return f"{len(pairs)} grid points are in both runs; in B, against A: {counts}. {where}"


def _table(first: Run, second: Run, pairs: list[Pair]) -> Table | None:
    same = one_machine(first, second)
    memory = {memory_column(first.summary), memory_column(second.summary)}

    def both(name: str) -> list[tuple[Column, list[Cell]]]:
        return [
            (Column(title=f"{name} A"), [column_cell(pair.first, name) for pair in pairs]),
            (Column(title=f"{name} B"), [column_cell(pair.second, name) for pair in pairs]),
        ]

    columns: list[tuple[Column, list[Cell]]] = [
        (Column(title="strategy", words=True), [words(pair.first["label"]) for pair in pairs]),
        (Column(title="batch"), [column_cell(pair.first, "batch") for pair in pairs]),
        (Column(title="objects"), [_first_known(pair, "objects") for pair in pairs]),
        (Column(title="B against A", words=True), [words(_verdict(first, second, pair) or None) for pair in pairs]),
        (Column(title="change"), [_ratio_cell(pair) for pair in pairs]),
        (Column(title="speedup A"), [_speedup(pair.first) for pair in pairs]),
        (Column(title="speedup B"), [_speedup(pair.second) for pair in pairs]),
        *(both("fps") if same else []),
        *(column for name in sorted(memory) for column in both(name)),
        (Column(title="masks A", words=True), [words(masks_of(first, pair.first)) for pair in pairs]),
        (Column(title="masks B", words=True), [words(masks_of(second, pair.second)) for pair in pairs]),
        *both("iou_min"),
        *both("jf"),
    ]
    return filled(columns) if pairs else None


def _first_known(pair: Pair, name: str) -> Cell:
    return column_cell(pair.second if pd.isna(pair.first[name]) else pair.first, name)


def _speedup(row: pd.Series) -> Cell:
    return number(row["speedup"], lambda _: with_interval(row))


def _ratio_cell(pair: Pair) -> Cell:
    change = speedup_ratio(pair.first, pair.second)
    return Cell() if change is None else Cell(text=with_ends(change), key=change.value)


def _about(first: Run, second: Run) -> str:
    band = _band(first, second)
    about = (
        "`change` is the speed-up in B divided by that in A, with its 95% interval; it is `same` where the whole "
        f"interval lies within {ratio(1 / (1 + band))} and {ratio(1 + band)}, `faster` or `slower` where it lies on "
        "one side of 1, else `unclear`."
    )
    if one_machine(first, second):
        return f"{about} `fps` is shown to be looked at: a machine differs from itself from hour to hour."
    return about


def _changes(first: Run, second: Run) -> Paragraph | Table:
    before, after = facts(first.environment), facts(second.environment)
    changed = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    asked = {name: (_asked(first, *name.split(".")), _asked(second, *name.split("."))) for name in ("timing", "seed")}
    rows = [(name, before.get(name), after.get(name)) for name in changed]
    rows += [(name, *values) for name, values in asked.items() if values[0] != values[1]]
    if not rows:
        return Paragraph(text="Nothing that was recorded: device, versions, code, timing options.")
    titles = ("what", "A", "B")
    return Table(
        columns=tuple(Column(title=title, words=True) for title in titles),
        rows=tuple((words(name), words(old), words(new)) for name, old, new in rows),
    )


def _asked(run: Run, *place: str) -> str | None:
    """Return the value of an option in a run's points: each different one, or None without points."""
    found = list(dict.fromkeys(str(dig(content, "config", *place)) for content in run.points.values()))
    return " or ".join(found) or None

"""The table that ends a sweep on the terminal, and the line below it that people quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.options.words import unlike
from harness.row import CATALOGUE, SETTING, STAR, Row, doubtful_column
from harness.stats.best import best

WIDE = 200
"""Characters of a line where there is no terminal to fit in."""
LAST = ("strategy", "variant", "batch", "objects", "speedup", "status")
"""Columns that stay in the narrowest terminal, which has to wrap its lines where even these do not fit."""
FIRST = (
    *(("bank_s",), ("jf",), ("iou_min",), ("peak_rss_mb",), ("vram_peak_mb",), ("fps",)),
    *(("speedup_lo", "speedup_hi"), ("verdict",)),
)
"""Columns that a narrow terminal goes without, the most dispensable first, and those together that need each other."""
ROUND_FROM = 2.0
"""Speed-ups from here on are quoted with one digit behind the point, smaller ones with two."""


def shown(row: Row, name: str, unit: str = "") -> str:
    """Return a column's value in the column's format and its unit, with a star where it was not measured long enough.

    The text is empty where it was not measured.
    """
    value = getattr(row, name)
    if value is None:
        return ""
    return format(value, CATALOGUE[name].format) + unit + (STAR if name == _doubtful(row) else "")


def print_table(rows: Sequence[Row]) -> None:
    """Print the sweep's results, without the columns for which nothing was measured.

    In a terminal, columns are left out until no word has to be cut; the last line names them.
    """
    rows = _distinguished(rows)
    console = Console()
    if not console.is_terminal:  # A file or a pipe has no width to fit in.
        console.width = WIDE
    cells = {name: [shown(row, name) for row in rows] for name in _columns(rows)}
    kept = _fitting(cells, console.width)
    table = Table()
    for name in kept:
        table.add_column(name, justify="right" if CATALOGUE[name].format else "left", no_wrap=True)
    for at in range(len(rows)):
        table.add_row(*(escape(cells[name][at]) for name in kept))
    width = console.width
    console.width = max(width, _width(cells, kept))
    console.print(table)
    console.width = width
    for line in filter(None, [_legend(rows), _left_out([name for name in cells if name not in kept])]):
        console.print(line, markup=False, highlight=False)


def finding(rows: Sequence[Row]) -> str | None:
    """Return in one line what the sweep found, by the rule of the report's verdict.

    It is about the setting with the most objects; None where no point has a speed and right masks.
    """
    right = [row for row in _distinguished(rows) if row.status == "ok" and row.fps and not _differs(row)]
    settings: dict[tuple[object, ...], list[Row]] = {}
    for row in right:
        settings.setdefault(tuple(getattr(row, name) for name in (*SETTING, "objects")), []).append(row)
    if not settings:
        return None
    found = {one: best([row.speed for row in one_setting]) for one, one_setting in settings.items()}
    chosen = {one: settings[one][found[one].at] for one in settings}
    setting = max(chosen, key=lambda one: _weight(chosen[one]))
    row = chosen[setting]
    line = ", ".join(filter(None, [f"{_named(row, list(chosen.values()))}: {_speed(row)}", _masks(row), _memory(row)]))
    if found[setting].paired and not found[setting].clear:
        return f"nothing is clearly faster than {row.reference}; the best is {line}"
    return line


def _weight(row: Row) -> tuple[bool, int, float]:
    """Return what makes a setting the one to tell of: the whole job first, then the most objects."""
    return row.scenario == "job", row.objects or 0, row.objects_per_s or 0.0


def _distinguished(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with those of their options alone that are not common to all."""
    words = unlike([row.options or "" for row in rows])
    return [replace(row, options=one) for row, one in zip(rows, words, strict=True)]


def _columns(rows: Sequence[Row]) -> list[str]:
    found = {name: {getattr(row, name) for row in rows} - {None} for name in CATALOGUE}
    varying = [name for name, one in CATALOGUE.items() if one.shown == "where it varies" and len(found[name]) > 1]
    return varying + [name for name, one in CATALOGUE.items() if one.shown == "always" and found[name] - {""}]


def _fitting(cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Return the columns that are kept, in order; a column with a star is kept as long as those that always stay."""
    kept = list(cells)
    starred = {name for name, texts in cells.items() if any(text.endswith(STAR) for text in texts)}
    others = [(name,) for name in reversed(list(cells)) if name not in {one for group in FIRST for one in group}]
    for group in (*FIRST, *others):
        if _width(cells, kept) <= width:
            break
        kept = [name for name in kept if name not in group or name in (*LAST, *starred)]
    return kept


def _width(cells: Mapping[str, Sequence[str]], names: Sequence[str]) -> int:
    """Return how wide a table of these columns is: its texts, two blanks for each, and the lines between."""
    return sum(max(map(cell_len, [name, *cells[name]])) + 3 for name in names) + 1


def _left_out(names: Sequence[str]) -> str | None:
    return f"left out for the terminal's width: {', '.join(names)}; summary.csv has all" if names else None


def _legend(rows: Sequence[Row]) -> str | None:
    """Return the line that explains the stars of a table, or None where it has none."""
    early = sum(_doubtful(row) is not None for row in rows)
    if not early:
        return None
    timed = sum(row.converged is not None for row in rows)
    return (
        f"{STAR} not measured long enough ({early} of {timed} points): a first impression, which more time "
        "(timing.max_seconds) makes a result"
    )


def _doubtful(row: Row) -> str | None:
    return doubtful_column(converged=row.converged, has_speedup=row.speedup is not None)


def _differs(row: Row) -> bool:
    return "differ" in (row.masks, row.fp32_masks)


def _named(row: Row, others: Sequence[Row]) -> str:
    """Name a point with its batch, and with what the sweep varied of its setting."""
    family = f"{row.strategy} ({row.variant})" if row.variant else row.strategy
    varying = [name for name in (*SETTING, "objects") if len({getattr(other, name) for other in others}) > 1]
    counted = [f"{getattr(row, name)} {name}" if CATALOGUE[name].format else getattr(row, name) for name in varying]
    return ", ".join(str(part) for part in [family, f"batch {row.batch}", *counted, row.options] if part)


def _speed(row: Row) -> str:
    star = STAR if _doubtful(row) else ""
    if row.speedup is None:
        return f"{shown(row, 'fps')} targets/s"
    digits = 1 if row.speedup >= ROUND_FROM else 2
    ends = [row.speedup_lo, row.speedup_hi]
    interval = "" if None in ends else f" ({'-'.join(f'{end:.{digits}f}' for end in ends)})"
    return f"{row.speedup:.{digits}f}{star} times{interval} as fast as {row.reference}"


def _masks(row: Row) -> str:
    return "same masks" if row.masks == "same" else "masks not compared"


def _memory(row: Row) -> str:
    memory = row.peak_rss_mb if row.vram_peak_mb is None else row.vram_peak_mb
    return "" if memory is None else f"{memory:,.0f} MB"

"""What the sections on a run's extras share: the table of parts that were measured, and the sentences on the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.schema import read_object
from report.reading.run import Run, dig, finite
from report.render.document import Bullets, Cell, Column, Paragraph, Section, filled, number, words


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a run keeps of an extra: its file's content."""

    content: dict[str, Any]

    @property
    def parts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return the parts that could be read, by name, those that failed too."""
        parts = dig(self.content, "parts")
        for name, part in parts.items() if isinstance(parts, dict) else ():
            if isinstance(part, dict):
                yield name, part

    @property
    def end(self) -> Paragraph | None:
        """Return why it came to no end, if it did not."""
        reason = dig(self.content, "reason")
        if not reason:
            return None
        return Paragraph(text=f"**{dig(self.content, 'status')}**: {reason}")

    @property
    def gaps(self) -> Bullets | None:
        """Return what was not measured, and why."""
        failed = [f"{name}: {part['reason']}" for name, part in self.parts if part.get("reason")]
        left = dig(self.content, "left")
        if isinstance(left, list) and left:
            failed.append(f"not measured, because the time (`extras.seconds`) was over: {'; '.join(map(str, left))}")
        return Bullets(items=tuple(failed), quiet=True) if failed else None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A column of figures: its title, the figure's name in a row, and its format; without one it holds words."""

    title: str
    name: str
    form: str | None = None

    def of(self, rows: Sequence[dict[str, Any]]) -> tuple[Column, list[Cell]]:
        values = [row[self.name] for row in rows]
        cells = [words(value) if self.form is None else number(value, self.form) for value in values]
        return Column(title=self.title, words=self.form is None), cells


def extra_section(
    run: Run,
    name: str,
    *,
    title: str,
    meaning: str,
    row_of: Callable[[dict[str, Any]], dict[str, Any] | None],
    columns: Sequence[Figures],
    keep: int,
) -> Section | None:
    """Return the section of an extra, given by its function's name, or None where the run has none.

    row_of: a function that returns the figures of a part, or None where it was not measured. meaning: what is said
    above the table where there is one. keep: so many first columns are no figures, but what these belong to.
    """
    content = read_object(run.folder / f"{name}.json")
    if content is None:
        return None
    extra = Extra(content=content)
    rows = [row for _, part in extra.parts if (row := row_of(part)) is not None]
    table = filled((column.of(rows) for column in columns), keep=keep)
    said = None if table is None else Paragraph(text=meaning, quiet=True)
    return Section.of(title, extra.end, said, table, extra.gaps)


def median_seconds(measured: dict[str, Any]) -> float | None:
    """Return the median of a list of samples, or None where there is none."""
    samples = measured.get("seconds")
    known = [value for value in map(finite, samples if isinstance(samples, list) else ()) if value]
    return median(known) if known else None

"""What the sections on a run's extras share: the parts that were measured, and the sentences on those that were not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from report.reading.run import Run, dig, finite, read_object
from report.render.document import Bullets, Paragraph


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


def extra_of(run: Run, name: str) -> Extra | None:
    """Return an extra by its function's name, or None where the run has none."""
    content = read_object(run.folder / f"{name}.json")
    return None if content is None else Extra(content=content)


def median_seconds(measured: dict[str, Any]) -> float | None:
    """Return the median of a list of samples, or None where there is none."""
    samples = measured.get("seconds")
    known = [value for value in map(finite, samples if isinstance(samples, list) else ()) if value]
    return median(known) if known else None

"""One of several parts of a piece of work, as ``shard=3/16`` names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from strategies.errors import UserError

FOLDER = ".shards"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part with this number, from 1, of so many."""

    number: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Raises UserError where a text is none, as ``3/16`` is one."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = cls(number=int(found[1]), of=int(found[2])) if found else None
        if shard is None or not 1 <= shard.number <= shard.of:
            raise UserError(f"shard={text} is not valid: give a part and their number, as shard=1/16 up to shard=16/16")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def folder(self, out: Path) -> Path:
        """Return where the part keeps what it has done."""
        return out / FOLDER / f"{self.number}-of-{self.of}"

    def every(self) -> Iterator[Shard]:
        """Yield all parts."""
        return (replace(self, number=number) for number in range(1, self.of + 1))

    def stretch(self, count: int) -> slice:
        """Return the part's places among so many things in order; all parts together have each once."""
        return slice((self.number - 1) * count // self.of, self.number * count // self.of)


def numbers_of_parts(out: Path) -> set[int]:
    """Return in how many parts a folder was begun: one number, none, or several where a hand made some."""
    return {
        int(number) for path in (out / FOLDER).glob("*-of-*") if (number := path.name.partition("-of-")[2]).isdigit()
    }


def refuse_other_parts(shard: Shard, out: Path, *, otherwise: str) -> None:
    """Raise UserError where a folder was begun in another number of parts. otherwise: what else there is to do."""
    others = numbers_of_parts(out) - {shard.of}
    if others:
        begun = " and ".join(map(str, sorted(others)))
        raise UserError(f"{out} was begun in {begun} parts: give shard=K/{min(others)}, or {otherwise}")

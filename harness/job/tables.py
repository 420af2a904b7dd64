"""Tables of a job: ``labels.csv``, ``labels.parquet`` where pyarrow is installed, and ``broken.csv``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import get_type_hints

from harness.pipeline.ledger import COLUMNS, Labelled, Ledger
from harness.store.atomic import whole_file
from harness.store.summary import harmless

ROWS = 10_000
"""Rows that are held at once."""


def write_tables(ledger: Ledger, out: Path) -> bool:
    """Write labels.csv and labels.parquet; returns False where the latter lacks pyarrow."""
    _write_csv(out / "labels.csv", COLUMNS, (astuple(row) for row in ledger.rows()))
    if find_spec("pyarrow") is None:
        return False
    _write_parquet(ledger, out / "labels.parquet")
    return True


def write_broken(broken: Sequence[tuple[str, str, str]], out: Path) -> None:
    """Write what was left out; there is no file where nothing was."""
    path = out / "broken.csv"
    if broken:
        _write_csv(path, ("group", "target", "reason"), broken)
    else:
        path.unlink(missing_ok=True)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with whole_file(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(columns)
        for row in rows:
            lines.writerow(_cell(value) for value in row)
        text.detach()  # It writes what it holds, and leaves the file open.


def _cell(value: object) -> object:
    if isinstance(value, str):
        return harmless(value)
    return int(value) if isinstance(value, bool) else value


def _write_parquet(ledger: Ledger, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    hints = get_type_hints(Labelled)
    schema = pyarrow.schema([(name, kinds.get(hints[name], pyarrow.float64())) for name in COLUMNS])
    with whole_file(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for part in _parts(ledger.rows()):
            columns = zip(*map(astuple, part), strict=True)
            writer.write_table(pyarrow.table(dict(zip(COLUMNS, columns, strict=True)), schema=schema))


def _parts(rows: Iterator[Labelled]) -> Iterator[list[Labelled]]:
    while part := list(islice(rows, ROWS)):
        yield part

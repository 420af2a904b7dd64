"""``from harness import run, load``: the harness as two calls, for notebooks and programs.

`run("strategy=direct", batch=[8, 16], objects=[1, 4])` does what `python -m harness strategy=direct batch=8,16
objects=1,4` does, with the same progress, files and report, and returns a table of pandas with a row for each point:
`run` and `time` of the run, all columns of summary.csv, and every option as `config.<option>`. Words are those of the
command line. An option by its name takes a value of Python's, or a list of values that are swept; one with a dot is
given as `**{"timing.width": 0.05}`, or as `timing={"width": 0.05}`.
`load("results/latest")` and `load("results/*")` return the same table of runs that are finished.

Progress is a line for each point, and where the terminal or `ipywidgets` draws one, a bar.
A point that fails is a row with its status, as in any sweep. Bad input raises `UserError`, one sentence; an interrupt
raises `KeyboardInterrupt` when the files of what was measured are written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from re import compile as pattern
from typing import Any

import pandas as pd

from harness.cli import measured
from harness.options.compose import compose
from harness.store.table import load
from strategies.errors import UserError

__all__ = ["load", "run"]

PLAIN = pattern(r"[\w./:@+-]+")
"""Texts that Hydra's grammar takes as they are; others are put into quotes."""


def run(*words: str, **options: Any) -> pd.DataFrame:
    """Measure a sweep, and return the table that `load` makes of the points that were asked for.

    words: as on the command line, as "strategy=direct" or "+experiment=gpu". options: values by their options' names; a
    list, or any other iterable that is no text, is swept, and a list within it is one value.

    Raises UserError for bad input, KeyboardInterrupt where the sweep was interrupted, and with ``isolation=inline``
    what a strategy raised, each after the files of the run are written. Where ``minutes`` were over before all points
    had begun, a warning says so.
    """
    for word in words:
        if word.startswith("-"):
            raise UserError(f"{word} is a flag of the command line: give run() options, as batch=[8, 16]")
    points = compose([*words, *(f"{name}={value}" for name, value in _typed_out(options))])
    ended = measured(points)
    if ended.interrupted:
        raise KeyboardInterrupt
    if ended.error is not None:
        raise ended.error
    if ended.pending:
        warnings.warn(ended.pending_sentence, stacklevel=2)
    table = load(ended.run.path)
    return table[table["point"].isin([point.name for point in points])].reset_index(drop=True)


def _typed_out(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield options by their full names with their values as they are typed on a command line."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _typed_out({f"{name}.{key}": inner for key, inner in value.items()})
        elif _is_list(value):
            yield name, ",".join(map(_value, value))
        else:
            yield name, _value(value)


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if _is_list(value):
        return f"[{','.join(map(_value, value))}]"
    text = str(value)
    if not isinstance(value, str) or PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)

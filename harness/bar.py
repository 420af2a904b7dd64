"""The bar that a command draws on a terminal, or in a notebook, while it works."""

from __future__ import annotations

from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

LONGEST = 40
BESIDE = 76
"""Characters for what stands beside the bar: some words, the count and two times."""


def bar_on(console: Console) -> Progress:
    """Return a bar with what is done of all, the time it took and the time left; one that draws nothing in a file.

    In a notebook rich draws it by ipywidgets; without these, lines that are printed have to do.
    """
    drawn = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    return Progress(
        TextColumn("{task.description}", table_column=Column()),  # It is wrapped where the terminal is too narrow.
        BarColumn(max(4, min(LONGEST, console.width - BESIDE))),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console,
        disable=not drawn,
        transient=True,
    )

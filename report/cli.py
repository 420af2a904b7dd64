"""``python -m report [results/<run>] [--max-loss POINTS]``: write a run's report again.

``python -m report compare A B [C ...] [--on strategy,batch] [--output FILE]`` sets the points of runs side by side, and
says what became of each against the first run. ``--on`` matches points by what it names alone, where runs differ in the
rest; what keeps points from matching is said.

``python -m report site [RESULTS] [--output FOLDER] [--address URL]`` renders all runs of a folder as a static site.

Exit codes: 0 written; 2 bad input, or a report that can't be written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.guard import guarded
from report.compare import write_comparison
from report.sections.stream_losses import MAX_LOSS
from report.site import write_site
from report.write import write_report
from strategies.errors import UserError

COMPARE, SITE = "compare", "site"


class Parser(argparse.ArgumentParser):
    """A parser that raises `UserError` for bad arguments, so that they end in one sentence as all other errors do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of the exit codes above."""
    return guarded(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(given: list[str]) -> int:
    try:
        written = COMMANDS[given[0]](given[1:]) if given[:1] and given[0] in COMMANDS else _report(given)
    except OSError as error:
        raise UserError(f"the report can't be written ({error})") from error
    print(written)
    return 0


def _report(arguments: list[str]) -> str:
    parser = Parser(
        prog="python -m report",
        description="Write report.md and report.html of a run.",
        epilog="python -m report compare A B compares runs; python -m report site RESULTS makes a site of all.",
    )
    parser.add_argument("run", type=Path, nargs="?", default=Path("results/latest"), help="the run's folder")
    parser.add_argument(
        "--max-loss",
        type=_loss,
        default=MAX_LOSS,
        metavar="POINTS",
        help="J&F points that the verdict lets an approximation of streams lose",
    )
    options = parser.parse_args(arguments)
    return str(write_report(options.run, max_loss=options.max_loss))


def _compare(arguments: list[str]) -> str:
    parser = Parser(prog=f"python -m report {COMPARE}", description="Compare runs' grid points.")
    parser.add_argument("first", type=Path, metavar="A", help="the folder of a run: what was before")
    parser.add_argument("second", type=Path, metavar="B", help="the folder of another: what is now")
    parser.add_argument("more", type=Path, metavar="C", nargs="*", help="further ones, as of other devices")
    parser.add_argument(
        "--on", type=_listed, default=(), metavar="NAMES", help="what has to be equal, as strategy,batch; else all"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .md or .html file instead of the terminal")
    options = parser.parse_args(arguments)
    return write_comparison([options.first, options.second, *options.more], options.output, on=options.on)


def _loss(text: str) -> float:
    """Read a number of points; argparse tells what it is not."""
    points = float(text)
    if not points >= 0:  # This refuses NaN, too.
        raise argparse.ArgumentTypeError(f"{text} is no loss: give 0 or more points")
    return points


def _site(arguments: list[str]) -> str:
    parser = Parser(prog=f"python -m report {SITE}", description="Render all runs of a folder as a static site.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="the folder that holds the runs")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the site's folder; else site in that folder")
    parser.add_argument("--address", default="", metavar="URL", help="where the site will be, for previews of links")
    options = parser.parse_args(arguments)
    return str(write_site(options.results, options.output, address=options.address))


COMMANDS = {COMPARE: _compare, SITE: _site}
"""What a first word asks for; any other is a run's folder."""


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())

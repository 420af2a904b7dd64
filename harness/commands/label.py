"""``python -m harness.label data=folder data.root=FOLDER [--preview 12] [KEY=VALUE ...]``: pictures become masks.

Writes a mask for every target of every group, as an indexed PNG of the picture's size with the references' ids and
colours, to ``<out>/<group>/<target>.png``; beside them a table (``labels.csv``, and ``labels.parquet`` where pyarrow is
installed), ``review.html`` and with ``format=png,coco`` ``annotations.json``. The same command again makes what is
missing, and ``shard=3/16`` one part of the job, for array jobs of a batch system, as Slurm's:
``sbatch --array=1-16 --wrap 'python -m harness.label data=folder data.root=my_data shard=$SLURM_ARRAY_TASK_ID/16'``.
All GPUs of the machine share a job, a process for each, and with ``engine=ray`` those of a cluster whose machines have
the same files at the same places; on CPUs ``actors=`` and ``cores=`` say how many processes do. Masks are the same,
whoever makes them. Strategy and batch are what is fastest here (``strategy=auto batch=auto``): a short calibration
finds it, or ``from=results/latest`` tells it. ``--preview 12`` shows a dozen targets first, in
``<out>-preview/review.html``. ``decode=fast`` decodes JPEGs that are much larger than the model's square at a fraction
of their size, and says how alike masks are to ``decode=exact``'s.

Exit codes: 0 every target has its mask; 1 some could not be read, ``broken.csv`` says which and why; 2 bad input, or
masks that can't be written; 130 interrupted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console

from harness.commands.one_point import composed, one_point
from harness.guard import guarded, terminable
from harness.job.choice import USUAL, Auto
from harness.job.run import Summary, label
from harness.options.points import Point
from strategies.errors import UserError

DEFAULTS = {"targets": "null"}
"""Options of a sweep that have another default here."""
OPEN = tuple(f"{name}=auto" for name in USUAL)
"""Words that leave open what is open without them, too."""
SHORT = {"from": "label.run"} | {
    name: f"label.{name}" for name in ("out", "format", "engine", "actors", "cores", "shard", "decode")
}
"""Options that may be given without their group's name."""
NOWHERE = "decode=fast: it applied to no picture, as none is a JPEG of twice the model's side in height and width"
PREVIEW = "--preview"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of the exit codes above."""
    return guarded(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    preview, words = _preview(arguments)
    words = [_spelt_out(word) for word in words if word not in OPEN]
    point = one_point(words, command="label", defaults=DEFAULTS | USUAL, streams=False)
    if point is None:
        return 0
    names = frozenset(USUAL.keys() - {word.partition("=")[0] for word in words})
    if not names and point.config.label.run is not None:
        raise UserError("from= says which strategy and batch to take, and both are given: leave out one of the three")
    auto = Auto(names=names, compose=lambda more: composed(words, command="label", defaults=DEFAULTS | dict(more)))
    began = time.monotonic()
    with terminable():
        summary = label(point, auto=auto if names else None, preview=preview)
    _tell(summary, point, seconds=time.monotonic() - began)
    return int(summary.broken > 0)


def _preview(arguments: Sequence[str]) -> tuple[int | None, list[str]]:
    """Return the number that follows ``--preview``, None where it is not given, and the other words."""
    words, number = list(arguments), None
    for at, word in enumerate(words):
        flag, joined, value = word.partition("=")
        if flag == PREVIEW:
            number = value if joined else "".join(words[at + 1 : at + 2])
            del words[at : at + (1 if joined else 2)]
            break
    if number is None:
        return None, words
    if not number.isascii() or not number.isdigit() or not 0 < int(number) < 10_000:
        raise UserError(f"{PREVIEW} {number} is not valid: give a number of targets, as {PREVIEW} 12")
    return int(number), words


def _spelt_out(word: str) -> str:
    """Return a word with its option's whole name, and with a list where several formats are given."""
    option, equals, value = word.partition("=")
    if not equals or option not in (*SHORT, *SHORT.values()):
        return word
    option = SHORT.get(option, option)
    if option == SHORT["format"] and not value.startswith("["):
        value = f"[{value}]"
    return f"{option}={value}"


def _tell(summary: Summary, point: Point, *, seconds: float) -> None:
    console = Console(soft_wrap=True, highlight=False)
    lines = [
        f"masks: {summary.out} ({summary.targets} targets of {summary.groups} groups, {summary.labelled} of them now, "
        f"in {seconds:.1f} s)"
    ]
    busy = {name: seconds for name, seconds in summary.seconds_busy.items() if seconds}
    if summary.labelled and busy:
        shares = ", ".join(f"{name} {one / sum(busy.values()):.0%}" for name, one in busy.items())
        lines.append(f"work: {shares}; {summary.bottleneck} was the bottleneck")
    lines += summary.encoder
    if point.config.label.decode == "fast":
        lines.append(summary.decoding or NOWHERE)
    if summary.scores is not None:
        j, f = summary.scores
        lines.append(f"against the truth: J&F {(j + f) / 2:.3f}, J {j:.3f}, F {f:.3f}")
    if summary.broken:
        where = f", see {summary.out / 'broken.csv'}" if summary.whole else ""
        lines.append(f"left out: {summary.broken}{where}")
    if not summary.whole:
        lines.append("the tables are written when the last part ends")
    else:
        lines.append(f"table: {summary.out / 'labels.csv'}")
    if summary.whole and not summary.parquet:
        lines.append("labels.parquet needs pyarrow, which is not installed: pip install 'sambatch[parquet]'")
    if summary.whole and (summary.out / "review.html").is_file():
        lines.append(f"review: {summary.out / 'review.html'}")
    for line in lines:
        console.print(line, markup=False)

"""``python -m harness.collect RUN``: the summary and the report of a run in parts, of what is there.

Parts of a sweep (``python -m harness ... name=big shard=2/8``) share the folder ``<results>/<name>`` and may be at work
meanwhile; the last one to end does the same. On machines of one kind that share a disk, Slurm starts one on each by
``sbatch --array=1-8 --wrap 'python -m harness batch=1,8,16 name=big shard=$SLURM_ARRAY_TASK_ID/8'``. A part that was
cut off goes on by the same words.

Exit codes: 0 every point that was asked for has a result, ok or skipped; 1 some point ended otherwise; 2 bad input;
3 points are pending, and which is said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli import PENDING, summed_up
from harness.guard import guarded
from harness.isolate.extra import imported
from harness.options.shipped import shipped
from harness.store.parts import pending_names, pending_parts
from harness.store.recorded import planned_names, results_of
from harness.table import finding, print_table
from strategies.errors import UserError

MOST_NAMED = 12
"""At most so many pending points are named, of each part."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of the exit codes above."""
    return guarded(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    if arguments in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UserError("give the folder of one run, as python -m harness.collect results/sweep")
    run = Path(arguments[0])
    rows = [stored.result.row for stored in results_of(run)]
    if not rows:
        raise UserError(f"{run} holds no finished point: give the folder of a run, as results/sweep")
    run = run.resolve()  # `latest` may be given, and will point here by the folder's own name.
    try:
        report = summed_up(run, imported(shipped()["reporter"], option="reporter"))
    except OSError as error:
        raise UserError(f"the report of {run} can't be written ({error.strerror})") from error
    print_table(rows)
    print(f"report: {report}")
    if (line := finding(rows)) is not None:
        print(line)
    if pending := pending_names(run):
        print(f"{len(pending)} of {len(planned_names(run))} points are pending")
        parts = [(f"shard={shard}", names) for shard, names in pending_parts(run)] or [("pending", pending)]
        for part, names in parts:
            more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
            print(f"{part}: {', '.join([*names[:MOST_NAMED], *more])}")
        return PENDING
    planned = set(planned_names(run))
    return int(any(row.status not in ("ok", "skipped") for row in rows if row.point in planned or not planned))

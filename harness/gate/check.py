"""``python -m harness.check [--update] [KEY=VALUE ...]``: has anything become worse than in the snapshot?

The gate measures a grid as ``python -m harness`` does, or takes a run that exists (``check.run=FOLDER``), and compares
it with the snapshot that is committed for this device; `harness.gate.rule` has the rule. With
``check.against=git:main`` it needs no snapshot: each point is timed against that revision's own code of its strategy
(`harness.gate.against`). What is unclear is measured again, each time for twice as long, until ``check.minutes`` are
over; then it says what may help.

Exit codes: 0 nothing became worse; 1 something did; 2 bad input, or a fault of the gate itself, which says nothing of
the points; 3 it is unclear; 130 interrupted. With --update the code is 0, or 1 where the new snapshot, written all the
same, has points that did not end well.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from rich.console import Console

from harness.cli import measure
from harness.gate.against import Against
from harness.gate.findings import junit, markdown, print_findings, summary_line
from harness.gate.rule import Finding, compare, exit_code
from harness.gate.snapshot import Snapshot, file_of, find, load, store
from harness.guard import INTERRUPTED, guarded
from harness.options.compose import compose
from harness.options.config import MOST_PROCESSES, CheckConfig, HarnessConfig
from harness.options.devices import device_name, resolve_device
from harness.options.points import Point
from harness.store.atomic import write_whole
from harness.store.point_key import key_of, refuse_duplicate_keys
from strategies.errors import UserError

UPDATE = "--update"
GRID = {
    **{"strategy": "direct,extended_session", "batch": "8", "objects": "1,4"},
    **{"timing.processes": "3", "timing.width": "0.05", "timing.max_seconds": "20", "name": "check"},
}
"""Options that the command line may replace: few points, each timed until its interval is narrower than the margin
(about four minutes on a CPU)."""
SETUP_SECONDS, FURTHER_SECONDS = 30.0, 10.0
"""What a point, and each further process of it, may take besides its rounds, on a machine that is slow."""
WORTH_IT = 1.5
"""A point is measured again only where it can be for so many times as long as before."""
FAULT = 2
SUMMARY = "GITHUB_STEP_SUMMARY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of the exit codes above."""
    try:
        return guarded(lambda: _check(list(sys.argv[1:] if arguments is None else arguments)))
    except Exception:  # Python would exit with 1, which says that a point became worse.
        traceback.print_exc()
        return FAULT


def _check(arguments: list[str]) -> int:
    words = [_quoted(word) for word in arguments if word != UPDATE]
    named = {word.partition("=")[0] for word in words}
    defaults = [f"{key}={value}" for key, value in GRID.items() if key not in named]
    points = compose([*defaults, *words], module="harness.check")
    if not points:  # Hydra has only printed its help or the like.
        return 0
    if "check.subset" not in named:  # Each point's command is to check that point alone.
        points = [replace(point, overrides=(*point.overrides, "check.subset=true")) for point in points]
    if points[0].config.check.against is not None:
        return _beside_committed(points, update=UPDATE in arguments)
    return _update(points) if UPDATE in arguments else _compare(points)


def _quoted(word: str) -> str:
    """Return a word whose value Hydra's grammar takes although it names a revision, as ``git:HEAD~1`` does."""
    option, equals, value = word.partition("=")
    plain = option != "check.against" or value.startswith(("'", '"')) or not set(value) & set("~^")
    return word if plain else f"{option}{equals}'{value}'"


def _beside_committed(points: Sequence[Point], *, update: bool) -> int:
    """Measure each point beside the committed code of its strategy, and judge what has changed."""
    config = points[0].config
    options, against = config.check, config.check.against
    assert against is not None
    for given, word in ((update, UPDATE), (options.run, "check.run="), (options.snapshot, "check.snapshot=")):
        if given:
            raise UserError(
                f"check.against={against} compares with committed code, so it takes no {word}: leave one out"
            )
    beside = Against.of(points, against)
    end = _end(options)
    warned: set[str] = set()
    run = _measure(beside.points, warned)
    findings = _retried(run, beside.points, warned, lambda: beside.findings(run, options.margins), end=end)
    return _publish(run, findings, beside.notes(against), replace(options, subset=True))


def _compare(points: Sequence[Point]) -> int:
    config = points[0].config
    run = _given_run(config)
    device = device_name(resolve_device(config.device)) if run is None else Snapshot.of_run(run).device
    path = _given_snapshot(config) or find(device, _folder(config))
    snapshot = load(path)
    if run is None:
        end = _end(config.check)
        warned: set[str] = set()
        run = measured = _measure(points, warned)
        keys = _keys(points)
        findings = _retried(
            run,
            points,
            warned,
            lambda: compare(snapshot, Snapshot.of_run(measured, keys), config.check.margins),
            end=end,
        )
        new = Snapshot.of_run(run, keys)
    else:
        new = Snapshot.of_run(run)
        findings = compare(snapshot, new, config.check.margins)
    return _publish(run, findings, _notes(path, snapshot, new), config.check)


def _end(options: CheckConfig) -> float:
    """Return what ``time.monotonic()`` will be when the gate may measure nothing again."""
    return time.monotonic() + 60 * options.minutes


def _update(points: Sequence[Point]) -> int:
    """Write this device's snapshot, or the file that check.snapshot names, and show how it differs from the old one."""
    config = points[0].config
    run, path = _given_run(config), _given_snapshot(config)
    if path is not None and path.is_dir():
        raise UserError(f"check.snapshot={path} is a folder: give --update the file to write")
    new = Snapshot.of_run(run) if run is not None else Snapshot.of_run(_measure(points, set()), _keys(points))
    path = path or file_of(new.device, _folder(config))
    try:
        old = load(path)
    except UserError:  # There is none yet, or one that is to be replaced.
        old = replace(new, points={})
    store(new, path)
    print_findings(compare(old, new, config.check.margins))
    Console(soft_wrap=True, highlight=False).print(f"snapshot written: {path}", markup=False)
    return int(any(record.status not in ("ok", "skipped") for record in new.points.values()))


def _keys(points: Sequence[Point]) -> set[str]:
    return {key_of(point) for point in points}


def _measure(points: Sequence[Point], warned: set[str]) -> Path:
    """Measure the points and return the run's folder; warnings are given, and noted, that were not ``warned`` of."""
    refuse_duplicate_keys((key_of(point), point.name) for point in points)
    code, run = measure(points, warned=warned)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return run.path


def _retried(
    run: Path, points: Sequence[Point], warned: set[str], judged: Callable[[], list[Finding]], *, end: float
) -> list[Finding]:
    """Return what was found in the run, after its unclear points were measured longer.

    judged: returns what is found by now. end: what ``time.monotonic()`` may become.
    """
    retries, times, attempts = points[0].config.check.retries, 1.0, 0
    while True:
        findings = judged()
        unclear = {one.key for one in findings if one.retryable}
        asked = [point for point in points if key_of(point) in unclear]
        further = sum(_longer(point, 2 * times, run).config.timing.processes - 1 for point in asked)
        left = end - time.monotonic() - FURTHER_SECONDS * further
        longer = min(2 * times, most_times(asked, seconds=left))
        if attempts == retries or longer < WORTH_IT * times:
            return findings
        times, attempts = longer, attempts + 1
        again = [_longer(point, times, run) for point in asked]
        timing = again[0].config.timing
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"{len(again)} of {len(points)} points are unclear and are measured again, each for up to "
            f"{timing.max_seconds:.3g} s" + (f" in {timing.processes} processes" if timing.processes > 1 else "")
        )
        _measure(again, warned)


def most_times(points: Sequence[Point], *, seconds: float) -> float:
    """Return how many times ``timing.max_seconds`` all the points can be measured again in so many seconds.

    No point is measured for longer than its ``timeout`` allows. Returns 0 where nothing can be measured for longer.
    """
    timed = sum(point.config.timing.max_seconds for point in points)
    if not timed:
        return 0.0
    found = (seconds - SETUP_SECONDS * len(points)) / timed
    limits = [
        (point.config.timeout - SETUP_SECONDS) / point.config.timing.max_seconds
        for point in points
        if point.config.timeout is not None and point.config.timing.max_seconds
    ]
    return min([found, *limits])


def _longer(point: Point, times: float, run: Path) -> Point:
    """Return the point timed for all of so many times the time, as another point of the same run.

    Where it has several processes it has so many times more, because more time narrows nothing that differs between
    them.
    """
    timing = point.config.timing
    processes = timing.processes if timing.processes == 1 else min(ceil(timing.processes * times), MOST_PROCESSES)
    timing = replace(timing, processes=processes, width=0.0, max_seconds=timing.max_seconds * times)
    return replace(point, config=replace(point.config, timing=timing, resume=str(run)))


def advice(findings: Sequence[Finding], options: CheckConfig) -> list[str]:
    """Return a sentence on what may help where a speed-up stayed unclear."""
    unclear = [one for one in findings if one.retryable]
    if not unclear:
        return []
    found = [
        f"Unclear speed-ups: {len(unclear)}, whose intervals reach across the margin. Measure on a quieter machine, "
        f"give the gate more time (check.minutes={options.minutes:g} now), or allow more (check.margins.speedup="
        f"{options.margins.speedup:g} now)."
    ]
    wide = sum(one.snapshot_too_wide for one in unclear)
    if wide:
        found.append(
            f"For {wide} of them no time would be enough, because the snapshot's own interval reaches across it: write "
            "the snapshot anew on a quiet machine, with --update and a lower timing.width."
        )
    return found


def _given_run(config: HarnessConfig) -> Path | None:
    return None if config.check.run is None else Path(config.check.run)


def _folder(config: HarnessConfig) -> Path:
    return Path(config.results) / "baselines"


def _given_snapshot(config: HarnessConfig) -> Path | None:
    if config.check.snapshot is None:
        return None
    path = Path(config.check.snapshot)
    try:
        path.is_dir()
    except OSError as error:
        raise UserError(f"check.snapshot={path} can't be the name of a file ({error.strerror})") from error
    return path


def _notes(path: Path, old: Snapshot, new: Snapshot) -> list[str]:
    """Return which snapshot it was, and how its device and versions differ from this run's."""
    commit = old.environment.git_commit
    notes = [f"Compared with {path} of {old.made[:10]}, {old.device}" + (f", code {commit[:8]}." if commit else ".")]
    if old.device != new.device:
        notes.append(
            f"That is another device than {new.device}: speed-ups can differ between the two for that alone, and "
            "memory is not compared."
        )
    differing = [
        f"{name} {old_value}, now {new_value}"
        for name, old_value, new_value in [
            ("threads", old.environment.threads, new.environment.threads),
            ("python", old.environment.python, new.environment.python),
            *(
                (name, version, new.environment.packages.get(name))
                for name, version in old.environment.packages.items()
            ),
        ]
        if old_value != new_value
    ]
    if differing:
        notes.append(f"Made with {'; '.join(differing)}.")
    return notes


def _publish(run: Path, findings: Sequence[Finding], notes: Sequence[str], options: CheckConfig) -> int:
    notes = [*notes, *advice(findings, options)]
    code = exit_code(findings, subset=options.subset)
    text = markdown(findings, code=code, notes=notes)
    write_whole(run / "check.md", text)
    write_whole(run / "junit.xml", junit(findings))
    print_findings(findings)
    console = Console(soft_wrap=True, highlight=False)
    for line in [*notes, f"check: {run / 'check.md'}, {run / 'junit.xml'}", summary_line(findings, code)]:
        console.print(line, markup=False)
    if SUMMARY in os.environ:
        try:
            with Path(os.environ[SUMMARY]).open("a", encoding="utf-8", errors="backslashreplace") as summary:
                summary.write(text)
        except OSError as error:
            raise UserError(f"{SUMMARY}={os.environ[SUMMARY]} can't be written ({error.strerror})") from error
    return code

"""``python -m harness.check [--update] [KEY=VALUE ...]``: has anything become worse than in the snapshot?

The gate measures a grid as ``python -m harness`` does, or takes a run that exists (``check.run=FOLDER``), and compares
it with the snapshot that is committed for this device; `harness.gate.rule` has the rule. With
``check.against=git:main`` it needs no snapshot: each point is timed against that revision's own code of its strategy
(`harness.gate.against`). What is unclear is measured again for longer (`harness.gate.timing`), as far as
``check.minutes`` and ``check.retries`` allow; then it says what may help. ``check.minutes`` do not end the first
measurement of the points.

With --update it writes the snapshot. Within the same limits it measures again the speed-ups that are so uncertain that
equal code might be unclear beside them, keeps the narrowest interval of each, and warns where one stays too wide.

Exit codes: 0 nothing became worse; 1 something did; 2 bad input, or a fault of the gate itself, which says nothing of
the points; 3 it is unclear; 130 interrupted. With --update the code is 0, also where it warns, or 1 where the new
snapshot, written all the same, has points that did not end well.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from harness.gate.against import Against
from harness.gate.attempts import failed_again, narrowest
from harness.gate.findings import junit, markdown, print_findings, summary_line
from harness.gate.rule import Finding, compare, exit_code, too_wide
from harness.gate.snapshot import Snapshot, file_of, find, load, store
from harness.gate.timing import Remeasured, measure_points, measure_unclear_longer
from harness.guard import guarded
from harness.options.compose import compose
from harness.options.config import CheckConfig, HarnessConfig
from harness.options.devices import device_name, resolve_device
from harness.options.points import Point
from harness.store.atomic import refuse_unwritable, write_whole
from harness.store.point_key import key_of
from strategies.errors import UserError

UPDATE = "--update"
GRID = {
    **{"strategy": "direct,extended_session", "batch": "8", "objects": "1,4"},
    **{"timing.processes": "3", "timing.width": "0.05", "timing.max_seconds": "20", "name": "check"},
}
"""Options that the command line may replace: few points, each timed until its interval is narrower than the margin
(about four minutes on a CPU)."""
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
    run = measure_points(beside.points, warned)
    found = measure_unclear_longer(
        run, beside.points, warned, lambda: beside.findings(run, options.margins), end=end, word="unclear"
    )
    return _publish(run, found, beside.notes(against), replace(options, subset=True))


def _compare(points: Sequence[Point]) -> int:
    config = points[0].config
    run = _given_run(config)
    device = device_name(resolve_device(config.device)) if run is None else Snapshot.of_run(run).device
    path = _given_snapshot(config) or find(device, _folder(config))
    snapshot = load(path)
    if run is None:
        end = _end(config.check)
        warned: set[str] = set()
        run = measured = measure_points(points, warned)
        keys = _keys(points)
        found = measure_unclear_longer(
            run,
            points,
            warned,
            lambda: compare(snapshot, Snapshot.of_run(measured, keys), config.check.margins),
            end=end,
            word="unclear",
        )
        new = Snapshot.of_run(run, keys)
    else:
        new = Snapshot.of_run(run)
        found = Remeasured(findings=compare(snapshot, new, config.check.margins), limit=None)
    return _publish(run, found, _notes(path, snapshot, new), config.check)


def _end(options: CheckConfig) -> float:
    """Return what ``time.monotonic()`` will be when the gate may measure nothing again."""
    return time.monotonic() + 60 * options.minutes


def _update(points: Sequence[Point]) -> int:
    """Write this device's snapshot, or the file that check.snapshot names, and show how it differs from the old one."""
    config = points[0].config
    given, path = _given_run(config), _given_snapshot(config)
    if path is not None and path.is_dir():
        raise UserError(f"check.snapshot={path} is a folder: give --update the file to write")
    if given is not None:
        run, keys, limit = given, None, None
    else:
        refuse_unwritable(path or file_of(device_name(resolve_device(config.device)), _folder(config)))
        keys = _keys(points)
        run, limit = _measured_for_snapshot(points)
    new = Snapshot.of_run(run, keys, choose=narrowest)
    path = path or file_of(new.device, _folder(config))
    try:
        old = load(path)
    except UserError:  # There is none yet, or one that is to be replaced.
        old = replace(new, points={})
    try:
        store(new, path)
    except UserError as error:
        raise UserError(
            f"{error}; what was measured is kept: give --update check.run={run} with check.snapshot=FILE"
        ) from error
    print_findings(compare(old, new, config.check.margins))
    _warn_of(new, failed_again(run) & new.points.keys(), config.check, limit)
    Console(soft_wrap=True, highlight=False).print(f"snapshot written: {path}", markup=False)
    return int(any(record.status not in ("ok", "skipped") for record in new.points.values()))


def _measured_for_snapshot(points: Sequence[Point]) -> tuple[Path, str | None]:
    """Measure the points until equal code would pass beside them; returns the run, and the limit that was reached."""
    margins = points[0].config.check.margins
    end = _end(points[0].config.check)
    warned: set[str] = set()
    run, keys = measure_points(points, warned), _keys(points)
    found = measure_unclear_longer(
        run,
        points,
        warned,
        lambda: too_wide(Snapshot.of_run(run, keys, choose=narrowest), margins),
        end=end,
        word="too uncertain for a snapshot",
    )
    return run, found.limit


def _warn_of(new: Snapshot, failed: Set[str], options: CheckConfig, limit: str | None) -> None:
    """Warn of what a snapshot keeps although it is too uncertain, or did not come out so when it was measured again.

    failed: keys of points. limit: see `Remeasured`.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if failed:
        console.print(
            f"{len(failed)} points were ok, and failed when they were measured again; the snapshot keeps what was ok: "
            f"{'; '.join(sorted(failed))}.",
            markup=False,
        )
    wide = {one.key for one in too_wide(new, options.margins)}
    speedups = [(key, speedup) for key in wide if (speedup := new.points[key].speedup) is not None]
    if speedups:
        width, widest = max((speedup.hi / speedup.lo - 1, key) for key, speedup in speedups)
        console.print(
            f"The speed-ups of {len(speedups)} points are so uncertain that equal code may be unclear beside them; the "
            f"widest interval, hi / lo - 1 = {width:.2g}, is that of {widest}. Write the snapshot on a quieter machine"
            + (f", or raise {limit}, which ended the measuring." if limit else ", or measure it for longer."),
            markup=False,
        )


def _keys(points: Sequence[Point]) -> set[str]:
    return {key_of(point) for point in points}


def advice(findings: Sequence[Finding], options: CheckConfig, limit: str | None) -> list[str]:
    """Return sentences on what may help where speed-ups stayed unclear. limit: see `Remeasured`."""
    unclear = [one for one in findings if one.unclear_speedup]
    kept = sum(one.snapshot_decides for one in unclear)
    found = []
    if len(unclear) > kept:
        found.append(
            f"Unclear speed-ups: {len(unclear) - kept}, whose intervals reach across the margin. Measure on a quieter "
            f"machine, {f'raise {limit}, which ended the measuring, ' if limit else ''}or allow more "
            f"(check.margins.speedup={options.margins.speedup:g} now)."
        )
    if kept:
        found.append(
            f"Unclear speed-ups: {kept}, for which more time would hardly help, because the snapshot's own interval "
            "reaches across the margin: write the snapshot anew on a quiet machine, with --update."
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


def _publish(run: Path, found: Remeasured, notes: Sequence[str], options: CheckConfig) -> int:
    findings = found.findings
    notes = [*notes, *advice(findings, options, found.limit)]
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

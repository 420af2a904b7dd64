"""What a run recorded, read back: environment.json, plan.json and the files of its points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.result import PointResult
from harness.schema import Count, StrictBool, StrictStr, fitted, read_json
from strategies.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the gate, the history and certificates keep of environment.json.

    packages: versions by name, None for a package that is not installed. git_commit, git_changed: None where the code
    was installed without its repository.
    """

    device: StrictStr
    python: StrictStr | None
    packages: dict[StrictStr, StrictStr | None]
    threads: Count | None
    git_commit: StrictStr | None
    git_changed: StrictBool | None


@dataclass(frozen=True, kw_only=True)
class _Planned:
    point: StrictStr


def environment_of(run: Path) -> Environment:
    """Read a run's environment. Raises UserError where the folder is not that of a run."""
    try:
        return fitted(Environment, read_json(run / "environment.json"))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{run} is not the folder of a run (environment.json: {cause}); give one as results/<time>-<name>"
        ) from error


def planned_names(run: Path) -> list[str]:
    """Return the names of the points that a run's last command asked for, in order; none where the plan is damaged."""
    try:
        return [one.point for one in fitted(list[_Planned], read_json(run / "plan.json"))]
    except (OSError, ValueError):
        return []


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A point's file. time: when it was stored, in nanoseconds. identity: see `harness.store.identity`."""

    result: PointResult
    identity: dict[str, str]
    time: int


def results_of(run: Path) -> list[Stored]:
    """Return the results of a run's points, oldest first; files that are damaged are as good as none."""
    found: list[Stored] = []
    for path in sorted((run / "points").glob("*.json")):
        stored = _stored(path)
        if stored is not None:
            found.append(stored)
    return sorted(found, key=lambda one: one.time)


def process_file(run: Path, point: str, number: int) -> Path:
    """Return where the result of one of a point's several processes is kept."""
    return run / "processes" / f"{point}-{number}.json"


def result_of_process(run: Path, point: str, number: int) -> Stored | None:
    """Return the result of one of a point's several processes, or None where there is none, or it is damaged."""
    return _stored(process_file(run, point, number))


def _stored(path: Path) -> Stored | None:
    try:
        content = read_json(path)
        result = PointResult.from_json(content)
        identity = fitted(dict[str, str], content.get("identity", {}))
        return Stored(result=result, identity=identity, time=path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None

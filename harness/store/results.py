"""A run's folder, which holds what was asked, each point's result as it ends, and the summary of all.

Every file is written beside its place and moved there, so that a reader never sees half a file; `summary.csv` only
repeats what `points/*.json` say. So a run that was interrupted anywhere can be read and resumed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from harness.result import PointResult
from harness.row import Row
from harness.store.atomic import write_whole
from harness.store.recorded import process_file, result_of_process, results_of
from harness.store.summary import written
from strategies.errors import UserError

BEGAN = "%Y%m%d-%H%M%S-%f"
"""The beginning of a run's folder's name: when the run began, in local time."""
STAMP = re.compile(r"(\d{8}-\d{6}-\d{6})-")


def folder_name(name: str, at: datetime) -> str:
    """Return the name of a run's folder."""
    return f"{at:{BEGAN}}-{name}"


def began(folder: Path) -> datetime | None:
    """Return when a run began, by its folder's name, or None where a person named the folder."""
    stamp = STAMP.match(folder.name)
    try:
        return datetime.strptime(stamp[1], BEGAN) if stamp else None
    except ValueError:  # Those digits are no time.
        return None


class RunFolder:
    """Writes one run, a new one or one that is resumed, to which the link ``latest`` beside it then points."""

    def __init__(self, path: Path, *, part: Collection[str] | None = None) -> None:
        """Open the folder, or make it. Raises UserError where a part of it is a link, which may lead anywhere.

        part: names of the points that are measured here, where other processes measure the others at the same time. The
        rows are those of these points alone then, and the summary is left to who sums up all.
        """
        self.path = path
        self._part = part
        for name in ("points", "pictures", "processes"):
            if (path / name).is_symlink():
                raise UserError(f"{path / name} is a link: put the folder that it names in its place")
        (path / "points").mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, Row] = {}
        self._identities: dict[str, Mapping[str, str]] = {}
        for stored in results_of(path):  # A point whose file is damaged will be measured again.
            row = stored.result.row
            if part is not None and row.point not in part:
                continue
            self._rows[row.point] = row
            self._identities[row.point] = stored.identity
        _point_latest(path)

    def write_json(self, name: str, content: object) -> None:
        _write(self.path / name, json_text(content))

    def add(self, *results: PointResult, identity: Mapping[str, str] | None = None) -> None:
        """Store points' results, then the summary that includes them.

        identity: hashes of what the results depend on, by which `finished` recognises them.
        """
        for result in results:
            name = result.row.point
            self.write_json(f"points/{name}.json", {"identity": identity or {}, **asdict(result)})
            self._rows[name] = result.row
            self._identities[name] = identity or {}
        self.write_summary()

    def add_process(self, result: PointResult, identity: Mapping[str, str], number: int) -> None:
        """Store what one of a point's several processes found, so that a resumed run need not measure it again."""
        name = process_file(self.path, result.row.point, number).relative_to(self.path)
        self.write_json(str(name), {"identity": identity, **asdict(result)})

    def process(self, point: str, identity: Mapping[str, str], number: int) -> PointResult | None:
        """Return what one of a point's processes found, of the same options, code and environment; or None."""
        stored = result_of_process(self.path, point, number)
        return stored.result if stored is not None and stored.identity == identity else None

    def write_summary(self) -> None:
        """Write the summary; not from a part of a run, which does not know the others."""
        if self._part is None:
            _write(self.path / "summary.csv", written(self._rows.values()))

    def finished(self, name: str, identity: Mapping[str, str], *, processes: int = 1) -> bool:
        """Return whether the point has an ``ok`` result of the same options, code and environment.

        processes: how many have to have measured it.
        """
        if name not in self._rows or self._identities[name] != identity:
            return False
        row = self._rows[name]
        return row.status == "ok" and (row.processes or 1) >= processes

    def failed(self, name: str, identity: Mapping[str, str]) -> bool:
        """Return whether the point has a result of the same options, code and environment that is not ``ok``."""
        return name in self._rows and self._identities[name] == identity and self._rows[name].status != "ok"

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())


def json_text(content: object) -> str:
    """Return the text of a JSON file, in which numbers that JSON can't hold are null."""
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(content: object) -> object:
    """Replace by None the numbers that JSON can't hold: infinities and NaN, as masks that overflowed give."""
    match content:
        case float():
            return content if math.isfinite(content) else None
        case dict():
            return {key: _finite(value) for key, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
    return content


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except UserError as error:
        raise UserError(
            f"{error}; what is finished stays there: mend it and give the same command again with resume=true"
        ) from error


def _point_latest(path: Path) -> None:
    """Make the link ``latest``, unless the file system has no links or a folder has that name."""
    partial = path.parent / f".latest-{path.name}"
    with suppress(OSError):
        partial.unlink(missing_ok=True)  # A run that was killed here left it.
        partial.symlink_to(path.name)
        try:
            partial.replace(path.parent / "latest")
        except OSError:
            partial.unlink()

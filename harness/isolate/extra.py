"""An extra: what a run measures besides its points, as the table of kernels, in a process of its own.

It is a function that the options name. It gets the sweep's points, and returns what it measures in parts, each by its
name and in the order of their worth: functions without arguments that return what a JSON file holds. What a part raises
is kept in the part's place, and the next one begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from harness.isolate.failures import Failure, failure_of
from harness.measure.compared import OnStage
from harness.options.points import Point
from harness.row import Status
from harness.schema import read_object
from harness.store.atomic import write_whole
from harness.store.results import json_text
from strategies.errors import UserError

Part = Callable[[], dict[str, Any]]
Extra = Callable[[Sequence[Point]], Mapping[str, Part]]


@dataclass(frozen=True, kw_only=True)
class ExtraJob:
    """Measure an extra and store it in ``path``, anew after each of its parts.

    function: its dotted name. seconds: no part but the first begins after so many. identity: what it depends on, by
    which `stored_extra` recognises it.
    """

    points: Sequence[Point]
    function: str
    path: Path
    seconds: float
    identity: Mapping[str, str]

    def run(self, on_stage: OnStage) -> None:
        extra: Extra = imported(self.function, option="extras")
        on_stage("preparing")
        measures = extra(self.points)
        parts: dict[str, Any] = {}
        left: list[str] = []
        began = time.monotonic()
        for name, measure in measures.items():
            if parts and time.monotonic() - began >= self.seconds:
                left.append(name)
                continue
            on_stage(name)
            try:
                parts[name] = measure()
            except Exception as error:  # Others of its parts may do well.
                failure = failure_of(error)
                parts[name] = {"reason": failure.reason, "traceback": failure.traceback}
            self._store(status="begun", parts=parts, left=[])
        self._store(status="ok", parts=parts, left=left)

    def failed(self, failure: Failure) -> None:
        """Store why it came to no end, beside the parts that it has by then."""
        begun = stored_extra(self.path, self.identity, status="begun") or {}
        parts = begun.get("parts", {})
        self._store(status=failure.status, parts=parts, left=[], reason=failure.reason, traceback=failure.traceback)

    def _store(self, *, status: Status | Literal["begun"], **content: Any) -> None:
        write_whole(self.path, json_text({"identity": self.identity, "status": status, **content}))


def stored_extra(path: Path, identity: Mapping[str, str], *, status: str | None = None) -> dict[str, Any] | None:
    """Return what a run keeps of an extra, measured by the same code in the same environment, or None.

    status: the one that is looked for; where none is given, any but that of an extra that was cut off.
    """
    content = read_object(path)
    if content is None or content.get("identity") != dict(identity):
        return None
    found = content.get("status")
    return content if (found != "begun" if status is None else found == status) else None


def imported(name: str, *, option: str) -> Callable[..., Any]:
    """Return the function that an option gives by its dotted name. Raises UserError where it can't be imported."""
    module, _, function = name.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{option}={name} can't be imported ({error}); give module.function, or null") from error
    return found

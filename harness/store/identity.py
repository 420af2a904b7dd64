"""Hashes of what a result depends on besides its options, so that a resumed run keeps only valid results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.options.points import Point

PACKAGES = ("strategies", "harness", "conf")
SUFFIXES = (".py", ".json", ".yaml", ".safetensors")
DECISIVE = ("device", "cpu", "gpu", "python", "packages", "threads")
"""Entries of environment.json that can influence a result; the code has a hash of its own instead of `git_commit`."""


def identity_of(point: Point, environment: dict[str, Any]) -> dict[str, str]:
    """Return hashes of a point's options, of the code that measures it, and of the machine."""
    modules = {
        str(options.get("_target_")).rpartition(".")[0] for options in (point.config.strategy, point.config.baseline)
    }
    return {
        "config": point.digest,
        "code": _code(tuple(sorted(modules))),
        "environment": _hash(json.dumps([environment.get(key) for key in DECISIVE], sort_keys=True).encode()),
    }


@cache
def _code(modules: tuple[str, ...]) -> str:
    """Hash the project's own files and those that hold the user's strategies."""
    files: list[Path] = []
    root = Path(__file__).parents[2]
    for package in PACKAGES:
        files += sorted(path for path in (root / package).rglob("*") if path.suffix in SUFFIXES)
    for module in modules:
        files += _sources(module)
    return _hash(*(part for path in files for part in (path.name.encode(), path.read_bytes())))


def _sources(module: str) -> list[Path]:
    """Return the files of a module and of the packages around it, as far as they exist.

    Nothing is imported here: that is the user's code, of which the sweep's process knows the constructor (see
    `harness.options.signature`), and which runs in the points' own processes only.
    """
    files: list[Path] = []
    places: Sequence[str] | None = None
    for name in filter(None, module.split(".")):
        spec = find_spec(name) if places is None else PathFinder.find_spec(name, places)
        if spec is None:
            break
        if spec.has_location:
            files.append(Path(str(spec.origin)))
        places = spec.submodule_search_locations or []
    return files


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()

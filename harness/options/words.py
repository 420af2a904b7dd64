"""Options in words, as tables, keys and file names hold them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from harness.options.data import SOURCES
from harness.options.shipped import read_by_strategies, shipped

INDECISIVE = (
    *("name", "results", "reporter", "resume", "timeout", "minutes", "isolation", "certify", "check", "label"),
    *("extras", "experiment", "sweeps", "shard"),
)
"""Options that do not influence what is measured."""
HAVE_COLUMNS = (
    *("strategy", "baseline", "batch", "objects", "refs", "targets", "dtype", "device", "repeat", "scenario"),
    "videos",
    *("model.name", "data.name"),
)
"""Options that results show in columns of their own; strategies' options are shown in the variant."""
BASELINE = "strategy@baseline"
HOW = ("timing", "pictures", "monitor_interval", "project_to", "camera_fps")
"""Options that decide how a point is measured, and not what: with other values it is still the same point."""


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Return the options without a column of their own that decide what is measured and differ from `conf/`.

    Each is returned as ``seed=3``. options: those of a composed point, or as an older run stored them. Options that the
    harness does not read are left out: they reach a strategy, whose variant shows them.
    """
    asked = {name: value for key in _own_options() if key in options for name, value in _flat(key, options[key])}
    data = options.get("data")
    defaults = _defaults(str(data.get("name")) if isinstance(data, Mapping) else "")
    return [word(name, value) for name, value in asked.items() if name not in defaults or value != defaults[name]]


def word(name: str, value: Any) -> str:
    """Return an option as it is typed on a command line."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"


def as_file_name(text: str) -> str:
    """Return a text, such as a device's name, as a part of a path that any file system takes."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def joined(words: Sequence[str]) -> str:
    """Return one text that `parted` takes apart again."""
    return shlex.join(words)


def parted(text: str | None) -> list[str]:
    """Return the words of a text that `joined` made."""
    try:
        return shlex.split(text or "")
    except ValueError:  # The file was edited by hand.
        return [str(text)]


def what_words(words: Sequence[str]) -> list[str]:
    """Return the words without those that only say how a point is measured."""
    return [one for one in words if option_of(one).partition(".")[0] not in HOW]


def option_of(one: str) -> str:
    return one.partition("=")[0]


def unlike(texts: Sequence[str]) -> list[str]:
    """Return each of several points' words without those that all of them have."""
    every = [parted(text) for text in texts]
    common = set.intersection(*map(set, every)) if every else set()
    return [joined([one for one in words if one not in common]) for words in every]


@cache
def _own_options() -> tuple[str, ...]:
    """Return the harness's options at the top level whose values become words."""
    others = {*INDECISIVE, *HAVE_COLUMNS, *read_by_strategies(), "defaults", "hydra"}
    return ("data", "model", *(name for name in shipped() if name not in others))


@cache
def _defaults(source: str) -> dict[str, Any]:
    """Return the defaults by each option's full name, with those of a source of data."""
    found = {name: value for key in _own_options() for name, value in _flat(key, shipped().get(key, {}))}
    if source in SOURCES:
        found |= dict(_flat("data", shipped(f"data/{source}.yaml")["data"]))
    return found | {"model.weights": None}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif name not in HAVE_COLUMNS:
        yield name, value

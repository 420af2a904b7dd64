"""The options' defaults as `conf/` holds them: they stand there, for people to read, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf

from strategies.errors import UserError

KindT = TypeVar("KindT", bound=type)
CONF = Path(__file__).resolve().parents[2] / "conf"
"""Where the YAML files that ship lie: beside this package, whatever a user's own folder or module ``conf`` is."""
INTERPOLATION = re.compile(r"\$\{\s*(\w+)")
"""A pattern for the option at the top level that an interpolation begins with."""


@cache
def shipped(file: str = "config.yaml") -> dict[str, Any]:
    """Return what a file of ``conf/`` holds, with its interpolations as they are written."""
    content = OmegaConf.to_container(OmegaConf.create((CONF / file).read_text(encoding="utf-8")))
    if not isinstance(content, dict):
        raise UserError(no_mapping(CONF / file))
    return {str(key): value for key, value in content.items()}


def no_mapping(file: Path) -> str:
    """Return the sentence about a YAML file that holds something else than options."""
    return f"{file} holds no mapping of options: write each as NAME: VALUE"


@cache
def strategies() -> dict[str, dict[str, Any]]:
    """Return the strategies that ship, by name, as their YAMLs give them."""
    names = sorted(path.stem for path in (CONF / "strategy").glob("[!.]*.yaml"))
    return {name: shipped(f"strategy/{name}.yaml") for name in names}


def interpolated(value: Any) -> set[str]:
    """Return the options at the top level that a value in YAML refers to: ``${bank}`` refers to ``bank``."""
    return set(INTERPOLATION.findall(json.dumps(value)))


def read_by_strategies() -> set[str]:
    """Return the options at the top level that any strategy that ships refers to."""
    return {name for node in strategies().values() for name in interpolated(node)}


OF_STREAMS = "stream_session"
"""The strategy that others for streams are timed against by default."""


def default_baseline(scenario: str = "predict") -> str:
    """Return the name of the strategy that others are timed against by default."""
    if scenario == "stream":
        return OF_STREAMS
    choices = [choice for choice in shipped()["defaults"] if isinstance(choice, dict)]
    (name,) = [choice["strategy@baseline"] for choice in choices if "strategy@baseline" in choice]
    return str(name)


def defaults_from(file: str, *place: str) -> Callable[[KindT], KindT]:
    """Give a class, before it becomes a dataclass, the defaults that stand at a place in a file of ``conf/``."""

    def given(kind: KindT) -> KindT:
        values = shipped(file)
        for key in place:
            values = values[key]
        for name in kind.__annotations__:
            if name in values and not isinstance(values[name], dict):
                setattr(kind, name, _default(values[name]))
        return kind

    return given


def _default(value: Any) -> Any:
    return field(default_factory=lambda: list(value)) if isinstance(value, list) else value

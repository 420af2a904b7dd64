"""The sentence about a value that OmegaConf can't make an option's type: what the option takes instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.options.config import HarnessConfig
from harness.options.signature import in_words
from harness.options.words import word


def refusal_in(composed: DictConfig, error: OmegaConfBaseException) -> str:
    """Return the sentence about the option that an error is about, among those that were composed."""
    broken = (name for name in _sections() if not OmegaConf.is_dict(OmegaConf.select(composed, name)))
    name = error.full_key or next(broken, "")
    return refusal(given_word(name, OmegaConf.select(composed, name)), error)


def given_word(name: str, value: Any) -> str:
    """Return an option as it is typed on a command line, whose value may be one of OmegaConf's lists."""
    return word(name, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def refusal(given: str, error: OmegaConfBaseException) -> str:
    """Return the sentence about an option that was given as ``name=value``."""
    name = given.partition("=")[0]
    section = _sections().get(name)
    if section is not None:
        first = next(iter(get_type_hints(section)))
        return f"{given} is not valid: it holds options, each of which is set by itself, as {name}.{first}=VALUE"
    return f"{given} is not valid: {_wanted(name, error)}"


def _wanted(name: str, error: OmegaConfBaseException) -> str:
    """Return what the option takes, as ``give a whole number``; the error's own text where its type is not known."""
    members, own = get_args(error.ref_type), get_type_hints(HarnessConfig)
    if is_dataclass(error.object_type) and error.key is not None:
        wanted = get_type_hints(error.object_type)[str(error.key)]
    elif isinstance(error.key, int) and members:  # It is one of a list.
        wanted = members[0]
    elif name in own:
        wanted = own[name]
    else:
        return str(error).splitlines()[0]
    given = str(error.value)  # It may be a value, or one of OmegaConf's nodes.
    alone = get_origin(wanted) is list and given != "None" and not OmegaConf.is_config(error.value)
    return f"give {in_words(wanted)}{f', as [{given}]' if alone else ''}"


def _sections() -> dict[str, Any]:
    """Return the classes of all options that hold options, by their full names, outer ones first."""
    return dict(_within(HarnessConfig, ""))


def _within(section: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(section).items():
        if is_dataclass(kind):
            yield f"{prefix}{name}", kind
            yield from _within(kind, f"{prefix}{name}.")

"""A strategy's options, read off its constructor: their names, defaults, types and choices stand there alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from strategies.errors import UnavailableError, UserError, did_you_mean

GIVEN = ("self", "model")
"""Parameters that are not the user's to give."""
PLAIN = (str, int, float, bool, NoneType)
"""Types of values that JSON holds as they are."""
TYPES: dict[Any, str] = {
    **{str: "a text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"},
    **{list: "a list", dict: "a mapping"},
}
"""What error messages call the types."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The parameters of a strategy's constructor.

    types: each option's type, Any where the constructor does not say. defaults: those of the options that have one.
    open: whether it takes any other name too (``**options``). streams: whether it makes a strategy for streams.
    """

    target: str
    types: Mapping[str, Any]
    defaults: Mapping[str, Any]
    open: bool
    streams: bool = False

    @property
    def names(self) -> list[str]:
        return list(self.types)

    @property
    def plain_defaults(self) -> dict[str, Any]:
        """The defaults that can be written down as they are."""
        return {name: value for name, value in self.defaults.items() if isinstance(value, PLAIN)}

    def takes(self, name: str) -> bool:
        return self.open or name in self.types

    def fits(self, name: str, value: Any) -> bool:
        """Return whether the option could have the value."""
        return _fits(value, self.types.get(name, Any))

    def check(self, name: str, value: Any, *, called: str) -> None:
        """Raise UserError where the value is none of the option's choices, or not of its type.

        called: the option's name for the user, as ``bank`` or ``strategy.chunk_tokens``.
        """
        wanted = self.types.get(name, Any)
        if _fits(value, wanted):
            return
        typed = _as_typed(value)
        given = f"{called}={typed}"
        choices = _choices(wanted)
        if choices:
            listed = [_as_typed(choice) for choice in choices]
            if typed in listed:
                advice = "without quotes" if isinstance(value, str) else f"in quotes, as {called}=\"'{typed}'\""
                raise UserError(f"{given} is of another type than the choice: give it {advice}")
            raise UserError(f"{given} is not known; {did_you_mean(typed, listed)}choose one of {', '.join(listed)}")
        quoted = f", quoted as {called}=\"'{value}'\"" if wanted is str and isinstance(value, int | float) else ""
        raise UserError(f"{given} is not valid: {self.target} takes {in_words(wanted)}{quoted}")


def signature_of(target: str, *, named: str) -> Signature | None:
    """Return the signature of what a strategy's ``_target_`` names, which is imported for it.

    The strategies of a sweep are imported by the sweep's own process for this, before anything is measured; they run in
    the points' processes only. Returns None where the import itself says that this machine can't have the strategy
    (UnavailableError): then its points are skipped. Raises UserError where the class does not exist, or its import
    fails.

    named: the words by which the user chose the strategy, as ``strategy=mine``.
    """
    try:
        made = _imported(target)
    except UnavailableError:
        return None
    except (Exception, SystemExit) as error:  # A user's module may raise anything when it is imported.
        cause = " ".join(str(error).split()) or "no reason given"
        raise UserError(
            f"{named}: its _target_ {target} can't be imported ({type(error).__name__}: {cause}); "
            "mend it, or give the place of a class as package.module.Class"
        ) from error
    if not callable(made):
        raise UserError(f"{named}: its _target_ {target} is no class; give the place of one as package.module.Class")
    try:
        parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{named}: what its _target_ {target} takes can't be known ({error}); write it a constructor"
        ) from error
    hints = _hints(made)
    options = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return Signature(
        target=target,
        types={one.name: hints.get(one.name, Any) for one in options if one.name not in GIVEN},
        defaults={one.name: one.default for one in options if one.name not in GIVEN and one.default is not one.empty},
        open=any(one.kind is one.VAR_KEYWORD for one in parameters),
        streams=_streams(made),
    )


def _streams(made: Any) -> bool:
    """Return whether a class is a strategy for streams."""
    from strategies.streams.base import StreamStrategy  # here, because it brings torch, as only strategies do

    return isinstance(made, type) and issubclass(made, StreamStrategy)


def in_words(wanted: Any) -> str:
    """Return a type in words, as ``a whole number or null``."""
    return " or ".join(dict.fromkeys(TYPES.get(get_origin(kind) or kind, str(kind)) for kind in _members(wanted)))


def _imported(target: str) -> Any:
    """Import what a path names. The longest importable part is the module, so that a class may stand in a class."""
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise ImportError("it names no module")
    try:
        return getattr(import_module(module_name), name)
    except ModuleNotFoundError as error:
        outer, _, inner = module_name.rpartition(".")
        if not outer or error.name != module_name:
            raise
        try:
            return getattr(getattr(import_module(outer), inner), name)
        except (ModuleNotFoundError, AttributeError):
            raise error from None


def _hints(made: Callable[..., Any]) -> dict[str, Any]:
    """Return type hints; none where they name what can't be found at run time, as imports for type checkers only."""
    try:
        return get_type_hints(getattr(made, "__init__") if isinstance(made, type) else made)  # noqa: B009 - mypy's doubt
    except Exception:  # The evaluation of somebody's annotations may raise anything.
        return {}


def _fits(value: Any, wanted: Any) -> bool:
    """Return whether a value is of a type; types that are not known here take everything."""
    origin = get_origin(wanted) or wanted
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(wanted))
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in get_args(wanted))
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(origin, type) or origin not in TYPES or isinstance(value, origin)


def _choices(wanted: Any) -> tuple[Any, ...]:
    """Return all values that a type lists, or none where it takes others too."""
    found: list[Any] = []
    for kind in _members(wanted):
        if get_origin(kind) is Literal:
            found += get_args(kind)
        elif kind is NoneType:
            found.append(None)
        else:
            return ()
    return tuple(found) if found != [None] else ()


def _members(wanted: Any) -> Sequence[Any]:
    return get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)


def _as_typed(value: Any) -> str:
    """Return a value as it is typed on a command line."""
    named = {None: "null", True: "true", False: "false"}
    return named[value] if value is None or isinstance(value, bool) else str(value)

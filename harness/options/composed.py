"""From one job that Hydra composed to a grid point: strategies' options are checked by signature and put into words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ValidationError

from harness.options.config import HarnessConfig
from harness.options.copies import copied, packed, unpacked
from harness.options.points import Point
from harness.options.shipped import interpolated, strategies
from harness.options.signature import Signature, signature_of
from harness.options.words import option_of, word
from harness.options.wrong_values import refusal_in
from strategies.errors import UserError, did_you_mean

NODES = ("strategy", "baseline")
"""Options whose value is a strategy: its class, as ``_target_``, and the arguments of its constructor."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job as Hydra composed it, not yet checked.

    strategy, baseline: names in ``conf/strategy``. usual: the nodes of both as their YAMLs alone give them, with their
    interpolations. overrides: the words that set this job's options. named: whether somebody chose the strategy, who
    wants to know where it does not fit the scenario; a sweep over all strategies goes without it then.
    """

    strategy: str
    baseline: str
    composed: DictConfig
    usual: Mapping[str, Mapping[str, Any]]
    overrides: tuple[str, ...]
    module: str
    named: bool = True

    @cached_property
    def nodes(self) -> tuple[Node, Node]:
        return Node(job=self, key="strategy", name=self.strategy), Node(job=self, key="baseline", name=self.baseline)

    @cached_property
    def knobs(self) -> dict[str, Any]:
        """The options at the top level that the harness does not read, because they are meant for strategies."""
        options = cast(dict[str, Any], OmegaConf.to_container(self.composed, resolve=True))
        return {name: value for name, value in options.items() if name not in HarnessConfig.__dataclass_fields__}

    @cached_property
    def added(self) -> dict[str, str]:
        """The words that added an option at the top level, as ``+pace=3`` does, by its name."""
        words = [word for word in self.overrides if word.startswith("+")]
        found = {re.split("[.@/=]", word.lstrip("+"), maxsplit=1)[0]: word for word in words}
        return {name: word for name, word in found.items() if name in self.composed}

    @property
    def unread(self) -> set[str]:
        """The names of the `added` options that nothing in this job reads."""
        if not self.added:
            return set()
        read = {*HarnessConfig.__dataclass_fields__, *(option for node in self.nodes for option in node.read)}
        return self.added.keys() - read - interpolated(OmegaConf.to_container(self.composed))

    @property
    def scenario(self) -> str:
        return str(self.composed.scenario)

    @property
    def fits(self) -> bool:
        """Whether the strategy is of the kind that the scenario measures."""
        return self.nodes[0].fits

    def loose(self) -> DictConfig:
        """Return a copy of the options that takes any further one."""
        composed = copied(self.composed)
        OmegaConf.set_struct(composed, False)
        return composed

    def without(self, dropped: Collection[str]) -> Job:
        """Return the job as if these options, by their full names, had not been given."""
        if not dropped:
            return self
        composed, left = self.loose(), self.overrides
        for option in dropped:
            section, _, name = option.rpartition(".")
            del (composed[section] if section else composed)[name]
            left = tuple(one for one in left if not _sets(one, option))
        return replace(self, composed=composed, overrides=left)

    def point(self) -> Point:
        """Return the job's grid point. Raises UserError where an option can't have its value."""
        strategy, baseline = self.nodes
        for node in self.nodes:
            node.check()
            node.check_kind()
        knobs = self.knobs
        for knob in knobs.keys() - strategy.read - baseline.read:
            _check_unread(knob, knobs[knob])
        composed = self.loose()
        OmegaConf.resolve(composed)
        for node in self.nodes:
            composed[node.key] = node.completed
        return Point(
            strategy=self.strategy,
            baseline=self.baseline,
            config=_typed(composed),
            knobs=knobs,
            variant=strategy.variant,
            baseline_words=tuple(baseline.words()),
            overrides=self.overrides,
            module=self.module,
        )


@dataclass(frozen=True, kw_only=True)
class Node:
    """The options of one of a job's strategies. key: ``strategy`` or ``baseline``. name: its YAML's name."""

    job: Job
    key: str
    name: str

    @cached_property
    def values(self) -> dict[str, Any]:
        """The class and the arguments of its constructor, by option and resolved."""
        return _resolved(self.job.composed, self.key)

    @cached_property
    def usual(self) -> dict[str, Any]:
        """The arguments that its YAML alone gives, completed by the constructor's defaults."""
        given = self.values
        if OmegaConf.to_container(self.job.composed[self.key]) != self._yaml:
            as_in_yaml = self.job.loose()
            as_in_yaml[self.key] = OmegaConf.create(dict(self._yaml))
            given = _resolved(as_in_yaml, self.key)
        return (self.signature.plain_defaults if self.signature else {}) | given

    @cached_property
    def signature(self) -> Signature | None:
        """The constructor's signature, or None where this machine can't have the class: then nothing is checked."""
        named = f"{'strategy@' if self.key == 'baseline' else ''}{self.key}={self.name}"
        if not isinstance(self.values.get("_target_"), str):
            raise UserError(f"{named}: its YAML names no class; give one as _target_: package.module.Class")
        return signature_of(self.values["_target_"], named=named)

    @property
    def typed(self) -> set[str]:
        """The names of its options that were given one by one, as ``piece`` by ``strategy.piece=4``."""
        found = (one.lstrip("+").removeprefix(f"{self.key}.") for one in self.job.overrides if self._is_mine(one))
        return {re.split("[.=]", one, maxsplit=1)[0] for one in found}

    @property
    def unknown(self) -> set[str]:
        """The `typed` options that its constructor does not take."""
        return {name for name in self.typed if not self._takes(name)}

    @property
    def read(self) -> set[str]:
        """The options at the top level that its YAML refers to."""
        return {option for value in self._yaml.values() for option in interpolated(value)}

    @property
    def _yaml(self) -> Mapping[str, Any]:
        return self.job.usual[self.key]

    @property
    def fits(self) -> bool:
        """Whether it is of the kind that the scenario measures; one that this machine can't have passes as such."""
        return self.signature is None or self.signature.streams == (self.job.scenario == "stream")

    def check_kind(self) -> None:
        """Raise UserError where the scenario measures strategies of another kind."""
        if self.fits:
            return
        option = "strategy" if self.key == "strategy" else "strategy@baseline"
        given = f"{option}={self.name}"
        if self.job.scenario != "stream":
            raise UserError(
                f"{given} follows streams, which scenario={self.job.scenario} has none of: add scenario=stream"
            )
        names = ", ".join(streaming())
        raise UserError(f"{given} is no strategy for streams, which scenario=stream measures: choose one of {names}")

    def check(self) -> None:
        """Raise UserError where its constructor would not take its arguments."""
        if self.signature is None:
            return
        given = [name for name in self.values if not name.startswith("_")]
        for name in given:
            if not self.signature.takes(name):
                raise UserError(no_option(f"{self.key}.{name}", [self]))
            self.signature.check(name, self.values[name], called=self._called(name))
        for name in self.signature.names:
            if name not in self.signature.defaults and name not in given:
                raise UserError(f"{self.key}.{name}= is missing: {self.name} needs it, so give it a value")

    @property
    def completed(self) -> dict[str, Any]:
        """The options with the constructor's defaults, so that results hold every option and equal points are equal."""
        defaults = self.signature.plain_defaults if self.signature else {}
        names = [*(name for name in self.values if name.startswith("_")), *defaults, *self.values]
        return {name: self.values.get(name, defaults.get(name)) for name in dict.fromkeys(names)}

    @property
    def variant(self) -> str:
        """The difference from what its name says: the knobs that it takes, and what was changed in its YAML's options.

        A knob that is a switch is shown by its name where it is on, a choice by its value where that is not ``auto``.
        """
        knobs = [name for name, value in self._yaml.items() if interpolated(value) & self.job.knobs.keys()]
        defaults = self.signature.defaults if self.signature else {}
        knob_words = [
            _knob_word(name, self.values.get(name), defaults.get(name), ambiguous=self._ambiguous(name, knobs))
            for name in knobs
        ]
        return "-".join([*filter(None, knob_words), *self.words(besides=knobs)])

    def _takes(self, name: str) -> bool:
        """Return whether the option may be given; those of Hydra, as ``_target_``, always may."""
        return name.startswith("_") or self.signature is None or self.signature.takes(name)

    def _ambiguous(self, name: str, knobs: Sequence[str]) -> bool:
        """Return whether another of the knobs could have this one's value, so that the value alone does not say whose
        it is."""
        if self.signature is None:
            return False
        return any(self.signature.fits(other, self.values.get(name)) for other in knobs if other != name)

    def words(self, *, besides: Sequence[str] = ()) -> list[str]:
        """Return, in words, the options that differ from its YAML's, or for knobs from its constructor's defaults."""
        usual = dict(self.usual)
        if self.key == "baseline":
            defaults = self.signature.plain_defaults if self.signature else {}
            usual |= {name: defaults.get(name) for name in self._yaml if interpolated(self._yaml[name]) & self.knobs}
        prefix = "baseline." if self.key == "baseline" else ""
        return [
            word(f"{prefix}{name}", value)
            for name, value in self.completed.items()
            if name not in besides and (name not in usual or not _same(usual[name], value))
        ]

    @property
    def knobs(self) -> set[str]:
        return set(self.job.knobs)

    def _called(self, name: str) -> str:
        """Return the user's name of an option, which is the name at the top level where it was set through one."""
        only = re.fullmatch(r"\$\{\s*(\w+)\s*\}", str(self._yaml.get(name)))
        return only[1] if only and name not in self.typed else f"{self.key}.{name}"

    def _is_mine(self, override: str) -> bool:
        return override.lstrip("+").startswith(f"{self.key}.")


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are the same one; ``true`` is none of the numbers."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def streaming() -> list[str]:
    """Return the names of the strategies for streams that ship."""
    found = {name: signature_of(node["_target_"], named=f"strategy={name}") for name, node in strategies().items()}
    return [name for name, signature in found.items() if signature is not None and signature.streams]


def no_option(option: str, nodes: Sequence[Node]) -> str:
    """Return the sentence about an option that none of these strategies has."""
    names = ", ".join(dict.fromkeys(node.name for node in nodes))
    key, _, name = option.partition(".")
    valid = sorted({name for node in nodes if node.signature for name in node.signature.names})
    if not valid:
        return f"{option}= is not an option of {names}: leave it out"
    listed = ", ".join(f"{key}.{one}" for one in valid)
    return f"{option}= is not an option of {names}; {did_you_mean(name, valid)}valid: {listed}"


def _check_unread(knob: str, value: Any) -> None:
    """Check a knob that no strategy of the point reads, as the strategies that ship and read it do."""
    for strategy, node in strategies().items():
        for name in (name for name, given in node.items() if given == f"${{{knob}}}"):
            signature = signature_of(node["_target_"], named=f"strategy={strategy}")
            if signature is not None:
                signature.check(name, value, called=knob)


def _typed(composed: DictConfig) -> HarnessConfig:
    """Return the harness's own options, each of its type. Raises UserError where one can't have its value.

    composed: the options, resolved, which nobody may use afterwards.
    """
    for name in composed.keys() - set(HarnessConfig.__dataclass_fields__):
        del composed[name]
    OmegaConf.set_struct(composed, None)
    try:
        config = OmegaConf.to_object(OmegaConf.unsafe_merge(unpacked(_schema()), copied(composed)))
    except ValidationError as error:
        raise UserError(refusal_in(composed, error)) from error
    assert isinstance(config, HarnessConfig)
    return config


@cache
def _schema() -> bytes:
    """Return the harness's own options with their types and defaults, packed for all points."""
    return packed(OmegaConf.structured(HarnessConfig))


def _resolved(composed: DictConfig, key: str) -> dict[str, Any]:
    """Return a strategy's values, resolved where they stand among a job's options."""
    found = cast(dict[str, Any], OmegaConf.to_container(composed[key], resolve=True, throw_on_missing=True))
    return {str(name): value for name, value in found.items()}


def _knob_word(name: str, value: Any, default: Any, *, ambiguous: bool) -> str:
    """Return a knob as a word: none for a switch that is off, a choice that is left open, a number as it always is."""
    if value is True:
        return name
    if value == default and not isinstance(value, str | bool):
        return ""
    if value is False and default is not True:
        return ""
    if isinstance(value, str) and not ambiguous:
        return "" if value == "auto" else value
    return word(name, value)


def _sets(override: str, option: str) -> bool:
    """Return whether an override sets an option, or something in it."""
    named = option_of(override).lstrip("+")
    return named == option or named.startswith(f"{option}.")

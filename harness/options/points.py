"""Grid points, made distinct and named, from what Hydra composed."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from harness.options.config import HarnessConfig, effective_data
from harness.options.shipped import default_baseline
from harness.options.words import BASELINE, INDECISIVE, word, words_of

LONGEST = 100
"""Characters of a variant that go into a file's name."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of options.

    strategy, baseline: their names in ``conf/strategy``. knobs: the options at the top level that the harness does not
    read itself; where a strategy reads them, they are in ``config.strategy`` or ``config.baseline`` too. variant: how
    the strategy's own options are set, as far as its name does not say it. baseline_words: the baseline's options that
    are not as usual. overrides: what the command line (or the default sweep) set. module: the module whose command line
    it was.
    """

    strategy: str
    baseline: str
    config: HarnessConfig
    knobs: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    baseline_words: tuple[str, ...] = ()
    overrides: tuple[str, ...]
    module: str = "harness"

    @property
    def options(self) -> dict[str, Any]:
        """The resolved options, all of them, as results store them."""
        return asdict(self.config) | self.knobs

    @property
    def words(self) -> list[str]:
        """The options besides the strategy's that differ from their defaults and have no column of their own."""
        baseline = [word(BASELINE, self.baseline)] if self.baseline != default_baseline(self.config.scenario) else []
        return [*words_of(self.options), *baseline, *self.baseline_words]

    @property
    def name(self) -> str:
        """A readable name that is distinct within any sweep and serves as a file name."""
        objects = "all" if self.config.objects is None else self.config.objects
        variant = re.sub(r"[^\w.=+-]+", ".", self.variant)[:LONGEST]
        streamed = self.config.scenario == "stream"
        at_once = f"v{self.config.videos}" if streamed else f"b{self.config.batch}"
        readable = [self.strategy.replace("/", "."), variant, at_once, f"o{objects}"]
        return "-".join([*filter(None, readable), self.digest[:8]])

    @property
    def digest(self) -> str:
        """A hash of the options that decide what is measured, with those knobs that the strategies take."""
        decisive = {key: value for key, value in asdict(self.config).items() if key not in INDECISIVE}
        return _hash({**decisive, "strategy_name": self.strategy, "baseline_name": self.baseline})

    @property
    def workload(self) -> str:
        """A hash of the options that decide the encoded features; points that share it share the features."""
        shared = ("model", "refs", "targets", "dtype", "device", "seed", "encode")
        options = asdict(self.config)
        streamed = {"streamed": True} if self.config.scenario == "stream" else {}  # Clips have other targets then.
        data = vars(effective_data(self.config))
        return _hash({**{key: options[key] for key in shared}, **streamed, "data": data})

    @property
    def command(self) -> str:
        """The command that measures this point again, from the start."""
        overrides = [word for word in self.overrides if not word.startswith(("resume=", "shard=", "extras."))]
        if self.config.extras.before or self.config.extras.after:  # Those of an experiment are no part of the point.
            overrides += ["extras.before=[]", "extras.after=[]"]
        return shlex.join(["python", "-m", self.module, *overrides])


def distinct(points: list[Point]) -> list[Point]:
    """Return the points without repetitions, in order, those that share features next to each other."""
    first = {point.digest: point for point in reversed(points)}
    order = list(dict.fromkeys(point.workload for point in points))
    chosen = [point for point in points if first[point.digest] is point]
    return sorted(chosen, key=lambda point: order.index(point.workload))


def as_yaml(points: Sequence[Point]) -> str:
    """Return all options of each point with the values that apply, below its command."""
    documents = []
    for point in points:
        options = point.options | {"data": vars(effective_data(point.config))}
        documents.append(f"# {point.command}\n{yaml.safe_dump(options, sort_keys=False, allow_unicode=True)}")
    return "---\n".join(documents)


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_with_text_keys(content), sort_keys=True).encode()).hexdigest()


def _with_text_keys(value: Any) -> Any:
    """Return the value as JSON would give it back: mappings of mixed keys can't be sorted."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list | tuple) else value

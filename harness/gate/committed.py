"""A strategy as committed code has it, beside the working tree's own in one process.

The revision's modules are imported under other names (`harness.gate.renamed`). Where the revision holds the package
``strategies``, its model is loaded by its own code as well, from the same weights; features, references and predictions
are handed over as they are, in the dataclasses of either side.
"""

from __future__ import annotations

import atexit
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.gate.renamed import install
from harness.gate.revision import Revision, place_of
from harness.measure.making import make_strategy
from harness.options.config import HarnessConfig
from harness.options.signature import signature_of
from harness.workload.scratch import scratch_folder
from strategies.base import Strategy
from strategies.errors import UnavailableError, UserError
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures

OURS = "strategies"


class Committed(Strategy):
    """Predicts as the committed code of a strategy does.

    commit: of the repository that the strategy lies in. strategy: the options that name it today. loaded: the words by
    which the model was loaded, as `load_model` takes them.
    """

    def __init__(self, model: Tracker, *, commit: str, strategy: dict[str, Any], loaded: dict[str, Any]) -> None:
        super().__init__(model)
        target = strategy["_target_"]
        prefix, names = imported(place_of(target), commit)
        self._ours = OURS if OURS not in names else f"{prefix}.{OURS}"
        renamed = f"{prefix}.{target}"
        try:
            with _todays_errors(self._ours):
                theirs = model if self._ours == OURS else self._loaded(model, loaded)
                self._strategy = make_strategy(_options(strategy, target, renamed), theirs)
            self._vocabulary: Any = import_module(f"{self._ours}.vocabulary")
        except (ImportError, AttributeError, TypeError) as error:
            raise UserError(
                f"check.against: {target} of commit {commit[:8]} can't run beside today's code ({error}); choose a "
                "later revision, or compare with a snapshot"
            ) from error
        self.exact, self.builds_bank = self._strategy.exact, self._strategy.builds_bank

    def _loaded(self, model: Tracker, loaded: dict[str, Any]) -> Any:
        load = import_module(f"{self._ours}.models.loading").load_model
        options = loaded | {"device": str(model.device), "dtype": model.dtype, "known_usable": True}
        known = inspect.signature(load).parameters
        return load(**{name: value for name, value in options.items() if name in known})

    def _prepare(self, references: References) -> None:
        features = _as(self._vocabulary.VisionFeatures, references.features)
        with _todays_errors(self._ours):
            self._strategy.prepare(_as(self._vocabulary.References, references, features=features))

    def _predict(self, targets: VisionFeatures) -> Predictions:
        found = self._strategy.predict(_as(self._vocabulary.VisionFeatures, targets))
        return _as(Predictions, found)

    def _release(self) -> None:
        self._strategy.release()


def committed_options(config: HarnessConfig, commit: str) -> dict[str, Any]:
    """Return the options of the committed code of a point's strategy."""
    return {
        "_target_": f"{__name__}.{Committed.__name__}",
        "commit": commit,
        "strategy": config.strategy,
        "loaded": {"name": config.model.name, "weights": config.model.weights, "seed": config.seed},
        "_recursive_": False,  # It makes the strategy in it by itself.
        "_convert_": "all",
    }


@contextmanager
def _todays_errors(ours: str) -> Iterator[None]:
    """Raise the committed code's refusals as today's, which alone the harness knows."""
    errors = import_module(f"{ours}.errors")
    try:
        yield
    except errors.UnavailableError as error:
        raise UnavailableError(str(error)) from error
    except errors.UserError as error:
        raise UserError(str(error)) from error


@cache
def imported(place: Path, commit: str) -> tuple[str, frozenset[str]]:
    """Make a revision's modules importable; returns their prefix, and the names at their top level."""
    revision = Revision(commit=commit, place=place)
    names = revision.names()
    kept = ExitStack()
    folder = kept.enter_context(scratch_folder())
    atexit.register(kept.close)
    revision.extract(names, folder)
    prefix = f"committed_{commit[:8]}_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    install(prefix, folder, names)
    return prefix, frozenset(names)


def _options(strategy: dict[str, Any], target: str, renamed: str) -> dict[str, Any]:
    """Return the options for the committed constructor, without those that it lacks and that are at their defaults."""
    today = signature_of(target, named="strategy")
    theirs = signature_of(renamed, named=f"check.against: {target}")
    options = {"_target_": renamed}
    for name, value in strategy.items():
        if name == "_target_":
            continue
        if name.startswith("_") or theirs is None or theirs.takes(name):
            options[name] = value
        elif today is None or name not in today.defaults or today.defaults[name] != value:
            raise UserError(
                f"check.against: {target} had no option {name} at that revision, so it can't be asked for "
                f"strategy.{name}={value}; leave the option out, or compare with a snapshot"
            )
    return options


def _as(kind: Any, given: Any, **changes: Any) -> Any:
    """Return a dataclass's values as another version of the class, without copies."""
    if type(given) is kind and not changes:
        return given
    values = {one.name: getattr(given, one.name) for one in fields(kind) if hasattr(given, one.name)}
    return kind(**(values | changes))

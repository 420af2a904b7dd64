"""Strategies as a user adds them: each a file and a YAML in a folder of their own, no line in this package."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

PIECEWISE = '''
from typing import Literal

from strategies import Direct, Predictions


class Piecewise(Direct):
    """A few targets at a time."""

    def __init__(self, model, *, order: Literal["forward", "backward"] = "forward", piece: int = 2):
        super().__init__(model)
        self.order, self.piece = order, piece

    def _predict(self, targets):
        starts = list(range(0, len(targets), self.piece))
        starts = starts[::-1] if self.order == "backward" else starts
        parts = {start: super(Piecewise, self)._predict(targets[start : start + self.piece]) for start in starts}
        return Predictions.concatenate([parts[start] for start in sorted(parts)])


class Needy(Direct):
    def __init__(self, model, *, colour: str):
        super().__init__(model)


class Doubtful(Direct):
    def __init__(self, model, *, left: Literal["auto", "x"] = "auto", right: Literal["auto", "x"] = "auto"):
        super().__init__(model)


class Choosy(Direct):
    def __init__(self, model, *, piece: Literal[1, 4] = 4, word: Literal["true", "x"] = "x", mixed: bool | int = True):
        super().__init__(model)


class Generous(Direct):
    def __init__(self, model, *, ratio: float | None = None, loud: bool = True, **others):
        super().__init__(model)
'''


YAMLS = {
    "piecewise": "_target_: piecewise_strategy.Piecewise\n",
    "large": "_target_: piecewise_strategy.Piecewise\npiece: 16\n",
    "needy": "_target_: piecewise_strategy.Needy\n",
    "choosy": "_target_: piecewise_strategy.Choosy\n",
    "generous": "_target_: piecewise_strategy.Generous\n",
    "knobby": "# @package _global_\npace: 3\nstrategy:\n  _target_: piecewise_strategy.Piecewise\n  piece: ${pace}\n",
    "doubtful": "# @package _global_\nleft: auto\nright: auto\nstrategy:\n  _target_: piecewise_strategy.Doubtful\n"
    "  left: ${left}\n  right: ${right}\n",
    "stray": "_target_: piecewise_strategy.Piecewise\npiec: 3\n",
    "lost": "_target_: nowhere.at.all.Mine\n",
    "explosive": "_target_: explosive_strategy.Mine\n",
    "leaving": "_target_: leaving_strategy.Mine\n",
    "unavailable": "_target_: unavailable_strategy.Mine\n",
    "nameless": "colour: green\n",
    "bare": "_target_: Mine\n",
    "absent": "_target_: piecewise_strategy.Absent\n",
    "broken": "n: [\n",
    "listed": "- 1\n",
}


MODULES = {
    "piecewise_strategy": PIECEWISE,
    "explosive_strategy": "raise SystemError('boom\\nand more')\n",
    "leaving_strategy": "raise SystemExit(3)\n",
    "unavailable_strategy": "from strategies import UnavailableError\nraise UnavailableError('it needs a card')\n",
}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The option that makes the user's strategies known; their modules can be imported."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_conf" / "strategy").mkdir(parents=True)
    for name, text in YAMLS.items():
        (folder / "my_conf" / "strategy" / f"{name}.yaml").write_text(text, encoding="utf-8")
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield f"hydra.searchpath=[file://{folder / 'my_conf'}]"
    for name in MODULES:
        sys.modules.pop(name, None)

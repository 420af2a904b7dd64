"""The seam between strategies and networks: what a network calls its parts is known in one adapter for each family."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from strategies import Sam2, Tracker
from tests.support.models import every_family
from tests.support.paths import ROOT

PACKAGES = ("strategies", "harness", "report")
ADAPTERS = ROOT / "strategies" / "models"
LIBRARY_FACE = ROOT / "strategies" / "__init__.py"
"""It offers the adapters to users of the library."""
FAMILIES = ("transformers", *(f"strategies.models.{family}" for family in ("sam2", "sam3_tracker", "edgetam")))
TRAINING = "train_toy.py"
"""It makes the network that it trains, so it knows the network's family."""


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, also where only a type checker looks."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


OUTSIDE = [path for path in modules(*PACKAGES) if ADAPTERS not in path.parents]


def test_nobody_but_the_adapters_reaches_for_the_network() -> None:
    assert [
        f"{path}:{node.lineno}"
        for path in OUTSIDE
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr == "network"
    ] == []


def test_nobody_but_the_adapters_knows_a_family() -> None:
    assert [
        f"{path} imports {name}"
        for path in OUTSIDE
        if path != LIBRARY_FACE and path.name != TRAINING
        for name in imported(path)
        if name.startswith(FAMILIES)
    ] == []


def test_modules_of_strategies_import_each_other_in_one_direction() -> None:
    """Adapters come before components, and components before strategies; a circle has no order at all."""
    ours = {name_of(path): path for path in modules("strategies")}
    order = list(TopologicalSorter({name: imported(path) & set(ours) for name, path in ours.items()}).static_order())
    assert order.index("strategies.models.tracker") < order.index("strategies.components.mask_decoder")
    for path in modules("strategies/models"):
        assert not {name for name in imported(path) if name.startswith(("strategies.components", "strategies.kernels"))}


@every_family
def test_an_adapter_answers_all_that_strategies_ask(model: Sam2) -> None:
    assert isinstance(model, Tracker)
    with pytest.raises(TypeError, match="abstract"):
        Tracker(name="none", device="cpu", dtype="fp32")  # type: ignore[abstract]

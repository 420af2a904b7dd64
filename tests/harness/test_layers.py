"""Imports go one way: each package of the harness and the report may import those named before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FLOORS = (
    *("strategies", "harness.stats", "harness.row", "harness.result", "harness.options", "harness.observe"),
    *("harness.store",),
    *("harness.data", "harness.masks", "harness.workload", "harness.measure", "harness.isolate"),
    *("harness.progress", "harness.sweep", "harness.cli", "harness.gate", "harness.commands"),
    *("harness.check", "harness.certify", "harness.kernels", "harness.train_toy"),
    *("harness.reference", "harness.__main__"),
    *("report.reading", "report.render", "report.sections", "report.compare", "report.write", "report.__main__"),
)
APART = {"harness.gate": "harness.commands", "harness.commands": "harness.gate", "report.render": "report.reading"}
"""Floors whose order means nothing: neither may import the other."""


def floor_of(module: str) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in (2, 1))
    return next((name for name in names if name in FLOORS), None)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", sorted([*ROOT.glob("harness/**/*.py"), *ROOT.glob("report/**/*.py")]), ids=str)
def test_a_module_imports_from_lower_floors_only(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    here = floor_of(module)
    for imported in imports_of(path):
        there = floor_of(imported)
        if there is None or there == here or here is None:
            continue
        assert FLOORS.index(there) < FLOORS.index(here), f"{module} imports {imported}"
        assert APART.get(here) != there, f"{module} imports {imported}"

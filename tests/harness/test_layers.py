"""Imports go one way: a package may import what its docstring lists, and nothing of a floor above its own."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FLOORS = (
    *(
        "strategies",
        "harness.schema",
        "harness.guard",
        "harness.bar",
        "harness.stats",
        "harness.column",
        "harness.row",
        "harness.result",
        "harness.options",
        "harness.observe",
    ),
    *(
        "harness.store",
        "harness.data",
        "harness.masks",
        "harness.workload",
        "harness.pipeline",
        "harness.measure",
        "harness.isolate",
        "harness.job",
    ),
    *("harness.table", "harness.progress", "harness.sweep", "harness.cli", "harness.gate", "harness.commands"),
    *(
        "harness.check",
        "harness.certify",
        "harness.label",
        "harness.collect",
        "harness.kernels",
        "harness.train_toy",
        "harness.reference",
    ),
    *("harness.__main__", "report.reading", "report.render", "report.sections", "report.matching"),
    *("report.compare", "report.write", "report.site"),
    *("report.cli", "report.__main__", "report", "harness.api", "harness", "harness.console"),
)
MODULES = sorted([*ROOT.glob("harness/**/*.py"), *ROOT.glob("report/**/*.py")])
PACKAGES = [path for path in MODULES if path.name == "__init__.py" and path.parent.parent != ROOT]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> str | None:
    """The floor that a module stands on; None for modules of other projects."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in (2, 1))
    return next((name for name in names if name in FLOORS), None)


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also as ``from package import module``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module if "." in node.module or node.module == "strategies" else ""
            yield from [whole] if whole else (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floors_under(path: Path) -> set[str]:
    """The other floors that a file imports from."""
    return {floor for module in imports_of(path) if (floor := floor_of(module)) and floor != floor_of(name_of(path))}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_lower_floors_only(path: Path) -> None:
    here = floor_of(name_of(path))
    assert here in FLOORS, f"{name_of(path)} stands on no floor"
    assert {floor for floor in floors_under(path) if FLOORS.index(floor) >= FLOORS.index(here)} == set()


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_a_package_imports_what_its_docstring_lists(package: Path) -> None:
    text = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
    what, _, listed = text.rstrip(".").partition(". May import: ")
    assert what
    assert "\n" not in text
    imported = {floor for path in package.parent.glob("*.py") for floor in floors_under(path)}
    if listed.startswith("all below"):
        assert f"harness.{listed.partition(' but ')[2]}" not in imported
        return
    allowed = {f"{place}{name}" for name in listed.split(", ") for place in ("", "harness.", "report.")}
    assert {floor for floor in imported if floor not in allowed and floor.partition(".")[0] not in allowed} == set()


def files_named(path: Path, files: Container[str]) -> Iterator[str]:
    """What a file imports, by files where a package's file is imported from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in files else node.module for name in inside)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_files_import_each_other() -> None:
    """In no roundabout way either, nor for their types alone."""
    files = {name_of(path): path for path in (*MODULES, *ROOT.glob("strategies/**/*.py"))}
    graph = {name: files.keys() & set(files_named(path, files)) for name, path in files.items()}
    assert graph["harness.cli"] >= {"harness.sweep", "harness.options.compose"}
    TopologicalSorter(graph).prepare()  # It raises CycleError, with the names.

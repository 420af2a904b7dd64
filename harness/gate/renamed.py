"""Another version of packages that are imported already, beside them, under a name of its own.

Python knows a module by its name alone, so the other version's modules need other names, and so do all imports that
name them: ``import strategies.direct`` becomes ``import PREFIX.strategies.direct`` while a module is compiled, also
within functions. What a program imports by a text that it makes itself is not renamed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any


def install(prefix: str, folder: Path, names: Sequence[str]) -> None:
    """Make the modules and packages of a folder importable as ``prefix.name``.

    names: those whose imports are renamed in all of them.
    """
    root = ModuleType(prefix)
    root.__path__ = [str(folder)]
    sys.modules[prefix] = root
    sys.meta_path.insert(0, _Finder(prefix, frozenset(names)))


class _Finder(MetaPathFinder):
    def __init__(self, prefix: str, names: frozenset[str]) -> None:
        self._prefix = prefix

        class Loader(SourceFileLoader):
            def source_to_code(  # type: ignore[override]
                self, data: Any, path: Any, *, _optimize: int = -1
            ) -> Any:
                tree = _Renaming(prefix, names).visit(ast.parse(data, filename=path))
                return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True, optimize=_optimize)

        self._loader = Loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith(f"{self._prefix}."):
            return None
        finders = (FileFinder(folder, (self._loader, [".py"])) for folder in path)
        return next((spec for finder in finders if (spec := finder.find_spec(fullname)) is not None), None)


class _Renaming(ast.NodeTransformer):
    def __init__(self, prefix: str, names: frozenset[str]) -> None:
        self._prefix = prefix
        self._names = names

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.level == 0 and node.module is not None and self._is_ours(node.module):
            node.module = f"{self._prefix}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """``import a.b`` binds ``a``, so the import of the renamed module is followed by one that binds it."""
        done: list[ast.stmt] = []
        for alias in node.names:
            if not self._is_ours(alias.name):
                done.append(ast.copy_location(ast.Import(names=[alias]), node))
                continue
            renamed = ast.alias(name=f"{self._prefix}.{alias.name}", asname=alias.asname)
            done.append(ast.copy_location(ast.Import(names=[renamed]), node))
            if alias.asname is None:
                first = ast.alias(name=alias.name.partition(".")[0])
                done.append(ast.copy_location(ast.ImportFrom(module=self._prefix, names=[first], level=0), node))
        return done

    def _is_ours(self, module: str) -> bool:
        return module.partition(".")[0] in self._names

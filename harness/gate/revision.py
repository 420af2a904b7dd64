"""A revision of the git repository that a strategy's code lies in, and what it holds."""

from __future__ import annotations

import ast
import io
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from strategies.errors import UserError

GIT = "git:"
"""What check.against begins with."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A commit, for the modules and packages of one folder. place: the folder, from which Python imports them."""

    commit: str
    place: Path

    @staticmethod
    def of(against: str, place: Path) -> Revision:
        """Find what ``git:REVISION`` names in the repository of a folder. Raises UserError where there is no such."""
        name = against.removeprefix(GIT)
        if not against.startswith(GIT) or not name:
            raise UserError(f"check.against={against} is not valid: give git:REVISION, as git:main")
        try:
            _git(place, "rev-parse", "--show-toplevel")
        except FileNotFoundError as error:
            raise UserError(f"check.against={against} needs git, which is not installed") from error
        except subprocess.CalledProcessError as error:
            raise UserError(
                f"check.against={against} finds no committed code: {place} is in no git repository; compare with a "
                "snapshot (check.snapshot=)"
            ) from error
        unknown = (
            f"check.against={against} is no revision of the repository of {place}: give a branch, a tag or a "
            "commit that it holds (a shallow clone has to fetch it first)"
        )
        try:
            found = _git(place, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except subprocess.CalledProcessError as error:
            raise UserError(unknown) from error
        commit = found.decode().strip()
        if commit.startswith("^"):  # All but a commit's history is a revision for git, and no code to compare with.
            raise UserError(unknown)
        return Revision(commit=commit, place=place)

    def has(self, target: str) -> bool:
        """Return whether the revision has what ``package.module.Class`` names, as far as its source tells."""
        module, _, name = target.rpartition(".")
        path = module.replace(".", "/")
        for file in (f"{path}.py", f"{path}/__init__.py"):
            try:
                tree = ast.parse(_git(self.place, "show", f"{self.commit}:./{file}"))
            except (subprocess.CalledProcessError, SyntaxError, ValueError):
                continue
            return bool({name, "__getattr__"} & _names_of(tree))  # A module may make its names when they are asked for.
        return False

    def names(self) -> list[str]:
        """Return the modules and packages that lie in the place."""
        entries = _git(self.place, "ls-tree", "--name-only", "-z", self.commit, "./").decode().split("\0")
        entries = [Path(entry).name for entry in entries if entry]
        files = _git(self.place, "ls-tree", "-r", "--name-only", "-z", self.commit, "./").decode().split("\0")
        packages = {Path(file).parts[0] for file in files if file.endswith(".py") and len(Path(file).parts) > 1}
        modules = {entry.removesuffix(".py") for entry in entries if entry.endswith(".py")}
        return sorted(name for name in packages | modules if name.isidentifier())

    def extract(self, names: Sequence[str], folder: Path) -> None:
        """Write modules and packages of the place, as `names` lists them, into a folder."""
        there = set(_git(self.place, "ls-tree", "--name-only", "-z", self.commit, "./").decode().split("\0"))
        wanted = [entry for name in names for entry in (name, f"{name}.py") if entry in there]
        packed = _git(self.place, "archive", "--format=tar", self.commit, "--", *wanted)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")


def place_of(target: str) -> Path:
    """Return the folder that the module or package of ``package.module.Class`` is imported from."""
    root = target.partition(".")[0]
    spec = find_spec(root)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    if spec is not None and spec.has_location:
        return Path(str(spec.origin)).resolve().parent
    raise UserError(f"{target} lies in no file, so that no revision of it can be found; leave check.against out")


def _git(place: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True).stdout


def _names_of(tree: ast.Module) -> set[str]:
    """Return the names that a module defines at its top level."""
    found: set[str] = set()
    for node in tree.body:
        match node:
            case ast.ClassDef() | ast.FunctionDef():
                found.add(node.name)
            case ast.ImportFrom() | ast.Import():
                found |= {alias.asname or alias.name for alias in node.names}
            case ast.Assign():
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found

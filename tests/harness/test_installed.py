"""The wheel, installed into an environment of its own and used from a folder that has nothing to do with the checkout.

What it depends on is lent by the environment of the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.harness_runs import REPORTED, complaint, only_run, summary
from tests.support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.processes]

PACKAGED = ("strategies", "harness", "report", "conf")
FILES = ("pyproject.toml", "README.md", "LICENSE")
MINE = """
from strategies import Direct


class Mine(Direct):
    pass
"""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An environment with the wheel: the folder of its commands, and the wheel."""

    commands: Path
    wheel: Path

    def run(self, folder: Path, *words: str, command: str = "sambatch") -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in a folder, without anything of the checkout on the way."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [str(self.commands / command), *words],
            cwd=folder,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for package in PACKAGED:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, source / file)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _do(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    _do(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    _do(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(commands=environment / "bin", wheel=wheel)


def _do(*words: str | Path) -> None:
    """Run a command that has to end well; what it said is in the error where it does not."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_every_file_that_the_packages_read(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files", *PACKAGED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in listed.stdout.splitlines() if name not in names] == []


def test_a_strategy_of_ones_own_is_measured_from_another_folder(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "conf" / "strategy").mkdir(parents=True)
    (tmp_path / "conf" / "__init__.py").write_text("raise SystemExit('another project')\n")
    (tmp_path / "conf" / "strategy" / "mine.yaml").write_text("_target_: my_strategies.Mine\n")
    (tmp_path / "my_strategies.py").write_text(MINE)
    done = installed.run(tmp_path, "bench", "strategy=mine", "batch=2", *REPORTED, "isolation=fork")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "results")
    (row,) = summary(run)
    assert (row["strategy"], row["status"]) == ("mine", "ok")
    assert "mine" in (run / "report.md").read_text(encoding="utf-8")
    assert "</html>" in (run / "report.html").read_text(encoding="utf-8")


def test_it_is_the_installed_package_that_runs(installed: Installed, tmp_path: Path) -> None:
    code = "import harness; print(harness.__version__, harness.__file__)"
    version, file = installed.run(tmp_path, "-c", code, command="python").stdout.split()
    assert Path(file).is_relative_to(installed.commands.parent)
    assert installed.run(tmp_path, "--version").stdout == f"sambatch {version}\n"
    assert f"-{version}-" in installed.wheel.name


def test_a_file_that_would_take_its_place_is_said(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "harness.py").write_text("raise SystemExit('another tool')\n")
    done = installed.run(tmp_path, "bench", "strategy=direct", "batch=1")
    assert done.returncode == 2
    assert "harness.py would take the place of" in complaint(done.stderr)

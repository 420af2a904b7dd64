"""A report is of files: reading and writing it needs neither torch nor transformers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness_runs import row, runs
from tests.support.paths import ROOT
from tests.support.report_runs import AGREED, CONFIG, FASTER, run_folder

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "triton"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Blocked())
"""


def without_torch(code: str, *arguments: object) -> str:
    """What the code prints in a Python that has no torch."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_block_works() -> None:
    with pytest.raises(AssertionError, match="torch is not there"):
        without_torch("import torch")


@pytest.mark.slow
def test_all_of_the_report_is_imported_without_torch() -> None:
    modules = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("report/**/*.py"))
    names = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    assert {"report", "report.write", "report.compare", "report.sections.are_the_masks_the_same"} <= set(names)
    printed = without_torch(
        f"import importlib\nfor name in {names}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    )
    assert printed.strip() == "False"


@pytest.mark.slow
def test_a_run_is_reported_and_compared_without_torch(tmp_path: Path) -> None:
    """With points, whose trends and masks are read from their files, and with the strategies' classes out of reach."""
    options = {
        **{"model": {"name": "toy", "weights": None}, "data": {"name": "synthetic", "parts": 3}, "dtype": "fp32"},
        **{"batch": 1, "objects": None, "refs": 2, "targets": 16, "seed": 0, "repeat": 0},
        **{"strategy": {"_target_": "strategies.direct.Direct"}},
        **{"baseline": {"_target_": "strategies.sequential.Sequential"}},
    }
    for name in ("first", "second"):
        run_folder(tmp_path / name, [row("one", **AGREED, **FASTER)], config=CONFIG | options)
    printed = without_torch(
        """
from pathlib import Path
from harness.store import history
from report.compare import write_comparison
from report.write import write_report
first, second = map(Path, sys.argv[1:])
assert history.append(first) and history.append(second)
print(write_report(second).read_text(encoding="utf-8"))
print(write_comparison([first, second]))
""",
        *runs(tmp_path),
    )
    assert "All points" in printed
    assert "1 grid points are in both runs" in printed
    assert "From run to run" in printed

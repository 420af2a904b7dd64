"""What the workflow posts to a pull request: the gate's findings, and the run beside main's last one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness_runs import row
from tests.support.paths import ROOT
from tests.support.report_runs import AGREED, FASTER, run_folder

GH = """#!/bin/sh
case "$1 $2" in
"run list") cat main-run-id ;;
"run download") [ -d downloaded ] && cp -r downloaded "$7" ;;
"pr comment") echo "$3" >posted-to; while [ "$1" != --body-file ]; do shift; done; cp "$2" posted ;;
esac
"""
PYTHON = '#!/bin/sh\nexec env PYTHONPATH="{root}" "{python}" "$@"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which the gate has run, with stand-ins for the environment's Python and for GitHub's command."""
    for place, text in (("bin/gh", GH), (".venv/bin/python", PYTHON.format(root=ROOT, python=sys.executable))):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(text)
        (tmp_path / place).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "comment", tmp_path / ".ci" / "comment")
    run_folder(tmp_path / "results" / "20260102-000000-000000-check", [row("one", **AGREED, **FASTER)])
    (tmp_path / "results" / "latest" / "check.md").write_text("## Regression gate: pass: 1 pass\n")
    (tmp_path / "main-run-id").write_text("")
    return tmp_path


def comment(checkout: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(checkout / "bin"), os.environ["PATH"]])
    return subprocess.run(
        ["bash", str(checkout / ".ci" / "comment")],
        env=os.environ | {"PATH": path, "PULL_REQUEST": "12"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.processes
def test_the_gates_findings_and_the_comparison_with_main_are_posted(checkout: Path) -> None:
    (checkout / "main-run-id").write_text("7\n")
    run_folder(checkout / "downloaded" / "20260101-000000-000000-check", [row("one", **AGREED, **FASTER)])
    done = comment(checkout)
    assert done.returncode == 0, done.stderr
    posted = (checkout / "posted").read_text(encoding="utf-8")
    assert (checkout / "posted-to").read_text() == "12\n"
    assert posted.startswith("## Regression gate: pass: 1 pass\n")
    assert "1 grid points are in both runs; in B, against A: " in posted


@pytest.mark.parametrize("last", ["", "7\n"], ids=["none", "without a report"])
def test_without_a_run_of_main_the_findings_alone_are_posted(checkout: Path, last: str) -> None:
    (checkout / "main-run-id").write_text(last)
    assert comment(checkout).returncode == 0
    assert (checkout / "posted").read_text(encoding="utf-8") == "## Regression gate: pass: 1 pass\n"


def test_without_findings_nothing_is_posted(checkout: Path) -> None:
    (checkout / "results" / "latest" / "check.md").unlink()
    assert comment(checkout).returncode == 0
    assert not (checkout / "posted").exists()


def test_the_workflow_calls_it_for_pull_requests() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "run: bash .ci/comment" in workflow
    assert "pull-requests: write" in workflow

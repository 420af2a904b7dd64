"""Folders that are no run, or only the pieces of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from report import write_report
from strategies.errors import UserError
from tests.support.harness_runs import row
from tests.support.report_runs import (
    run_folder,
)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished point"):
        write_report(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [None, "", "{", "[]"], ids=["missing", "empty", "cut off", "a list"])
def test_a_damaged_environment_is_left_out(tmp_path: Path, environment: str | None) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    (folder / "environment.json").unlink()
    if environment is not None:
        (folder / "environment.json").write_text(environment)
    text = write_report(folder).read_text(encoding="utf-8")
    assert "## Environment" not in text
    assert "12.5" in text


@pytest.mark.slow
@pytest.mark.parametrize("kept", [None, 0, 30, 400], ids=["missing", "empty", "cut in its header", "cut in a row"])
def test_a_point_that_the_summary_lacks_is_read_from_its_own_file(tmp_path: Path, kept: int | None) -> None:
    folder = run_folder(tmp_path / "run", [row("one", fps=11.5), row("two", batch=8, fps=22.5)])
    text = (folder / "summary.csv").read_text(encoding="utf-8")
    (folder / "summary.csv").unlink()
    if kept is not None:
        (folder / "summary.csv").write_text(text[:kept], encoding="utf-8")
    text = write_report(folder).read_text(encoding="utf-8")
    assert "2 points (2 ok)" in text
    assert "11.5" in text
    assert "22.5" in text

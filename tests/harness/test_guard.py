"""What all command lines share: no stream decides what is measured, and an interrupt is no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from harness.guard import guarded
from strategies.errors import UserError
from tests.support.commands import environment_in
from tests.support.harness_runs import TINY, complaint, exit_code, heed_interrupts, only_run, wait_for


def full() -> TextIO:
    return Path("/dev/full").open("w", encoding="utf-8")


def closed() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8")


BRIEFLY = ("paired=false", "compare=false", "targets=1", "refs=1", "objects=1")


def write_briefly(run: Path) -> Path:
    """A reporter that draws nothing."""
    (run / "report.md").write_text("measured")
    return run / "report.md"


@pytest.mark.slow
@pytest.mark.parametrize(("made", "said"), [(full, "can't be written to (No space left"), (closed, "")])
def test_a_broken_standard_output_costs_neither_results_nor_report(
    made: Callable[[], TextIO],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with made() as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert exit_code("strategy=direct", "batch=1", *TINY, *BRIEFLY, f"reporter={__name__}.write_briefly") == 0
    run = only_run(tmp_path / "results")
    assert (run / "report.md").is_file()
    assert (run.parent / "history.sqlite").is_file()
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert said in err
    assert err.count("warning") == bool(said)


def test_a_sentence_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> int:
        raise UserError("a\x1b[2Jb\nc\udc80")

    assert guarded(refuse) == 2
    assert complaint(capsys.readouterr().err).startswith(r"a\x1b[2Jb c")


def test_an_interrupt_while_a_command_is_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('there').touch()\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-c", "from harness.guard import start; start('slow')"],
        cwd=tmp_path,
        env=environment_in(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    wait_for((tmp_path / "there").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


def test_a_crash_of_the_interpreter_prints_a_stack(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text("import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    ended = subprocess.run(
        [sys.executable, "-c", "from harness.guard import start; start('crashing')"],
        cwd=tmp_path,
        env=environment_in(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGSEGV
    assert 'crashing.py", line 3 in main' in ended.stderr

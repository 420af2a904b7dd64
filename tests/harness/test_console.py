"""The command `sambatch`: one name for all commands, and a word about what would take their place."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness.console import COMMANDS, main
from tests.support.harness_runs import complaint
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user is in; what the command adds to the path of modules is taken away again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sambatch {metadata.version('sambatch')}\n"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert {"bench", "label", "check", "certify", "kernels", "collect", "report", "compare"} == set(COMMANDS)
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "no command is given; choose one of bench, label"),
        (["bnch", "batch=8"], "bnch is not a command; did you mean bench?"),
        (["--versoin"], "--versoin is not a command"),
    ],
    ids=str,
)
def test_what_is_no_command_is_answered_with_the_commands(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    sentence = complaint(capsys.readouterr().err)
    assert named in sentence
    assert "compare" in sentence


def test_bench_takes_the_words_of_the_harness(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "strategy=sequential", "batch=3", "--cfg", "job"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# python -m harness strategy=sequential batch=3\n")
    assert list(here.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nowhere"], "nowhere holds no finished point"),
        (["compare", "nowhere"], "required: B"),
        (["certify", "batch=8,16"], "certify takes one point, not 2"),
        (["label", "--preview", "no"], "--preview no is not valid"),
        (["check", "check.margins.speedup=-1"], "check.margins.speedup=-1"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_other_commands_take_the_words_of_their_modules(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in complaint(capsys.readouterr().err)


def test_kernels_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["kernels", "--help"])
    assert left.value.code == 0
    assert "--compile-only" in capsys.readouterr().out


# --- what lies in the current folder -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "package"),
    [
        ("harness.py", "harness"),
        ("harness/__init__.py", "harness"),
        ("strategies.py", "strategies"),
        ("report/__init__.py", "report"),
    ],
)
def test_a_module_that_would_take_the_place_of_ours_is_said(
    here: Path, place: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / place).parent.mkdir(exist_ok=True)
    (here / place).write_text("raise SystemExit('another tool')\n")
    assert main(["bench", "strategy=direct", "batch=1"]) == 2
    sentence = complaint(capsys.readouterr().err)
    assert sentence.startswith(f"{place} would take the place of sambatch's own package {package}: rename it")


def test_folders_and_other_modules_are_in_no_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("report", "strategies", "results"):
        (here / folder).mkdir()
    (here / "conf.py").write_text("raise SystemExit('another tool')\n")
    assert main(["report", "nowhere"]) == 2
    assert "nowhere holds no finished point" in capsys.readouterr().err


@pytest.mark.processes
def test_nothing_heavy_is_imported_before_the_command_is_known() -> None:
    code = (
        "import sys; from harness.console import main\n"
        "codes = [main(['--version']), main(['--help']), main(['bnch'])]\n"
        "print(codes, sorted({'torch', 'transformers', 'hydra', 'pandas', 'rich', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[0, 0, 2] []"

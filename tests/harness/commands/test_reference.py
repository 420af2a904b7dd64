"""REFERENCE.md says what the code says, and explains everything that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from harness.commands.reference import RUN_FILES, main, reference
from harness.commands.yaml_options import Option, choices_in, header_of, options_in
from harness.options.compose import compose
from harness.row import COLUMNS
from tests.support.paths import ROOT

NO_OPTIONS = ("_target_", "name")
"""Keys of a group's member that nobody sets: what it is."""


@pytest.fixture(scope="module")
def text() -> str:
    return reference()


def test_the_committed_file_is_what_the_code_says(text: str) -> None:
    stored = (ROOT / "REFERENCE.md").read_text(encoding="utf-8")
    assert stored == text, "write it anew with python -m harness.reference, and commit it"


def keys(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
        elif prefix == "" or key not in NO_OPTIONS:
            yield f"{prefix}{key}"


@pytest.mark.slow
@pytest.mark.parametrize("data", ["synthetic", "davis", "folder"])
def test_every_option_that_can_be_set_is_there(text: str, data: str) -> None:
    root = [] if data == "synthetic" else ["data.root=somewhere"]
    points = compose([f"data={data}", *root])  # of all strategies
    options = {key for point in points for key in keys(point.options) if not key.startswith("baseline.")}
    assert len(options) > 40
    assert [key for key in sorted(options) if f"| `{key}` |" not in text] == []


def test_everything_that_is_named_is_explained(text: str) -> None:
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_columns_are_those_of_a_summary_in_their_order(text: str) -> None:
    _, _, below = text.partition("## Columns of summary.csv")
    table = below.partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == COLUMNS


@pytest.mark.parametrize("run", ["example", "field-claims"])
def test_every_file_of_a_run_is_described(run: str) -> None:
    files = [path.name for path in (ROOT / "results" / run).iterdir() if path.is_file()]
    assert "summary.csv" in files
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in RUN_FILES)] == []


def test_the_command_writes_the_file_that_is_named(tmp_path: Path, text: str) -> None:
    assert main([str(tmp_path / "written.md")]) == 0
    assert (tmp_path / "written.md").read_text(encoding="utf-8") == text


def test_a_file_that_cannot_be_written_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main([str(tmp_path / "taken" / "written.md")]) == 2
    assert "can't be written" in capsys.readouterr().err


# --- options as YAML files write them ------------------------------------------------------------------------------

WRITTEN = """\
# What this is,
# in two lines.
defaults:
  - base
  - kind: plain # which kind
  - override other: none
  - _self_

size: 8 # how large
sizes: [1, 2] # how large, in turn
word: "a # b" # not a comment within
silent: null
rule: # when to stop
  seconds: 1.0 # at least
  inner: # further in
    share: 0.1
hydra:
  mode: MULTIRUN
"""


def test_options_come_with_their_defaults_and_comments() -> None:
    assert options_in(WRITTEN) == [
        Option(key="size", default="8", comment="how large"),
        Option(key="sizes", default="[1, 2]", comment="how large, in turn"),
        Option(key="word", default='"a # b"', comment="not a comment within"),
        Option(key="silent", default="null", comment=""),
        Option(key="rule", default=None, comment="when to stop"),
        Option(key="rule.seconds", default="1.0", comment="at least"),
        Option(key="rule.inner", default=None, comment="further in"),
        Option(key="rule.inner.share", default="0.1", comment=""),
    ]


def test_groups_come_from_the_defaults_list() -> None:
    assert choices_in(WRITTEN) == [Option(key="kind", default="plain", comment="which kind")]


def test_the_header_is_one_line_without_hydras_own_words() -> None:
    assert header_of(WRITTEN) == "What this is, in two lines."
    assert header_of("# @package _global_\n# This.\nkey: 1 # that\n") == "This."
    assert header_of("key: 1\n") == ""


def test_a_file_without_options_has_none() -> None:
    assert options_in("# nothing\n") == []

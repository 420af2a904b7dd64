"""The harness as a call: options as Python has them, a table, and exceptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import load, run
from harness.row import COLUMNS
from strategies.errors import UserError
from tests.support.harness_runs import runs

pytestmark = pytest.mark.slow

FAST: dict[str, Any] = {
    **{"data": {"groups": 1, "parts": 2}, "targets": 3, "pictures": 0, "isolation": "inline", "reporter": None},
    "timing": {"min_seconds": 0, "min_rounds": 1, "max_seconds": 0, "warmup_seconds": 0, "block_seconds": 60},
}

ALONE = FAST | {"paired": False, "compare": False, "refs": 1}
"""The same of points that are compared with nothing."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_sweep_is_a_call_and_a_row_is_a_point(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = run("strategy=direct", batch=[2, 3], objects=range(1, 3), name="two words", **ALONE)
    assert sorted(zip(table["batch"], table["objects"], strict=True)) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert set(table["status"]) == {"ok"}
    assert {"run", "time", *COLUMNS, "config.timing.min_rounds"} <= set(table.columns)
    assert set(table["config.name"]) == {"two words"}
    out, err = capsys.readouterr()
    assert out == "", "the table is returned, and not printed"
    assert "[4/4] direct-shared-b3-o2-" in err, "progress is shown"
    assert load("results/latest").equals(table)


def test_a_table_has_the_points_that_were_asked_for(here: Path) -> None:
    first = run("strategy=direct", batch=2, **ALONE)
    again = run("strategy=direct", "resume=true", batch=3, **ALONE)
    assert (list(first["batch"]), list(again["batch"])) == ([2], [3])
    assert list(load("results/latest")["batch"]) == [3, 2]


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (["strategy=direct", "batch=0"], {}, "batch=0"),
        ([], {"strategy": "direct", "batch": [1, 0]}, "batch=0"),
        ([], {"bach": 2}, "did you mean batch"),
        ([], {"strategy": "dirct"}, "did you mean direct"),
        (["--help"], {}, "--help is a flag of the command line"),
        ([], {"strategy": "direct", "name": "a/b"}, "name=a/b"),
        (["strategy=direct"], {"data": "folder", "data.root": "it's, [not] there"}, "data.root=it's, [not] there"),
    ],
    ids=str,
)
def test_bad_input_is_raised_and_nothing_is_printed(
    here: Path, words: list[str], options: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as raised:
        run(*words, **options)
    assert said in str(raised.value)
    assert capsys.readouterr() == ("", "")
    assert runs(here / "results") == []


BROKEN = """
from strategies import Direct


class Broken(Direct):
    def _predict(self, targets):
        raise ZeroDivisionError("the third bolt is loose")
"""


def test_what_a_strategy_raises_is_raised_where_nothing_isolates_it(here: Path) -> None:
    (here / "broken_strategy.py").write_text(BROKEN)
    (here / "conf" / "strategy").mkdir(parents=True)
    (here / "conf" / "strategy" / "broken.yaml").write_text("_target_: broken_strategy.Broken\n")
    with pytest.raises(ZeroDivisionError, match="third bolt"):
        run("strategy=broken", batch=2, **FAST)
    assert list(load("results/latest")["status"]) == ["crash"]


def test_points_that_time_did_not_suffice_for_are_warned_of(here: Path) -> None:
    run("strategy=direct", batch=2, **ALONE)
    with pytest.warns(UserWarning, match=r"minutes=1e-09 were over .* resume=true goes on"):
        table = run("strategy=direct", "resume=true", batch=[2, 3], minutes=1e-9, **ALONE)
    assert list(table["batch"]) == [2]

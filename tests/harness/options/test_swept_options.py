"""An option that differs between points is in every table, and in each point's key."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from harness.gate.snapshot import Snapshot
from harness.store.point_key import measured
from report.compare import comparison_of
from report.reading.run import read_run
from report.render.markdown import render_markdown
from strategies.errors import UserError
from tests.support.harness_runs import TINY, exit_code, only_run, runs, summary
from tests.support.report_runs import text_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(search: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small grid over both of its options, and over one of the harness's."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["strategy=piecewise,direct", "strategy.piece=1,4", "strategy.order=backward", "encode.batch=1,8"]
        briefly = ["batch=2", "targets=2", "refs=1", "objects=1"]
        assert exit_code(search, *words, *TINY, *briefly, "paired=true") == 0
    return only_run(folder / "results")


def test_every_option_that_differs_is_in_the_tables_and_in_the_report(swept: Path) -> None:
    rows = summary(swept)
    assert {row["status"] for row in rows} == {"ok"}
    assert len(rows) == 6
    assert len({(row["strategy"], row["variant"], row["options"]) for row in rows}) == 6
    assert {row["variant"] for row in rows} == {"order=backward-piece=1", "order=backward-piece=4", "shared"}
    labels = set(read_run(swept).summary["label"])
    assert labels == {
        f"{family}{encoded}"
        for family in ("piecewise (order=backward-piece=1)", "piecewise (order=backward-piece=4)", "direct (shared)")
        for encoded in ("", ", encode.batch=1")
    }
    report = text_of(swept)
    assert all(label in report for label in labels)


def test_every_point_has_a_key_of_its_own_that_its_row_tells_too(swept: Path) -> None:
    keys = list(measured(swept))
    assert len(keys) == len(summary(swept))
    assert sum("piece=1" in key for key in keys) == 2
    assert sum(key.endswith("encode.batch=1") for key in keys) == 3
    assert set(Snapshot.of_run(swept).points) == set(keys)


def test_a_run_compared_with_itself_pairs_every_point_with_itself(swept: Path) -> None:
    text = render_markdown(comparison_of(read_run(swept), read_run(swept)))
    assert "6 grid points are in both runs" in text
    assert "In one run only" not in text


def test_points_that_a_snapshot_can_not_tell_apart_are_refused_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("strategy=direct", "batch=3", "project_to=100,200", *TINY) == 0
    out, err = capsys.readouterr()
    assert "project_to=100" in out
    assert "project_to=200" in out
    assert "warning: this run is not in the history" in err
    (made,) = runs(tmp_path / "results")
    with pytest.raises(UserError, match=r"can't tell apart points that are direct shared batch=3 .*check one of them"):
        Snapshot.of_run(made)
    text = render_markdown(comparison_of(read_run(made), read_run(made)))
    assert "2 grid points are in both runs" in text


def test_a_row_holds_its_words_as_one_field(swept: Path) -> None:
    text = (swept / "summary.csv").read_text(encoding="utf-8")
    (first, *_) = csv.DictReader(io.StringIO(text))
    assert "data.groups=1 data.parts=2" in first["options"]

"""Two runs compared: the same points, by ratios, and what changed around them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from report.cli import main
from report.compare import comparison_of, write_comparison
from report.reading.run import read_run
from report.render.markdown import render_markdown
from strategies.errors import UserError
from tests.support.harness_runs import TARGETS, complaint, ended, row
from tests.support.paths import ROOT
from tests.support.report_runs import AGREED, CONFIG, ENVIRONMENT, FASTER, GPU, run_folder, table_cells

OTHER_MACHINE = ENVIRONMENT | {"device": "another processor", "cpu": ENVIRONMENT["cpu"] | {"name": "another processor"}}


def speeds(speedup: float, half: float = 0.01, **changes: Any) -> dict[str, Any]:
    ends = {"speedup": speedup, "speedup_lo": speedup / (1 + half), "speedup_hi": speedup * (1 + half)}
    return FASTER | AGREED | ends | changes


def against(reference: str) -> dict[str, Any]:
    """Return a point's options as a run stores them."""
    return CONFIG | {"baseline": {"_target_": TARGETS[reference]}, "paired": True}


def compared(
    folder: Path,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    *,
    first: dict[str, Any] = ENVIRONMENT,
    second: dict[str, Any] = ENVIRONMENT,
    config: dict[str, Any] = CONFIG,
    config_after: dict[str, Any] | None = None,
) -> str:
    """Return the comparison of two runs as text.

    first, second: the runs' environments. config_after: the second run's options, where they differ.
    """
    runs = [("first", before, first, config), ("second", after, second, config_after or config)]
    made = [run_folder(folder / name, rows, config=asked, environment=where) for name, rows, where, asked in runs]
    return render_markdown(comparison_of(*map(read_run, made)))


def points(text: str) -> list[dict[str, str]]:
    return table_cells(text, "The same points")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (2.0, 2.0, "same"),
        (2.0, 3.0, "faster"),
        (2.0, 1.5, "slower"),
        (2.0, 2.1, "unclear"),
    ],
)
def test_verdicts_are_of_the_ratio_of_speed_ups(tmp_path: Path, before: float, after: float, verdict: str) -> None:
    wide = 0.06 if verdict == "unclear" else 0.01
    text = compared(tmp_path, [row("a", **speeds(before, wide))], [row("b", **speeds(after, wide))])
    (cells,) = points(text)
    assert cells["B against A"] == verdict
    assert cells["change"].startswith(f"{after / before:.2f} (")
    assert f"1 grid points are in both runs; in B, against A: 1 {verdict}." in text


def test_the_interval_of_a_change_is_that_of_two_independent_ones(tmp_path: Path) -> None:
    text = compared(tmp_path, [row("a", **speeds(2.0, 0.1))], [row("b", **speeds(4.0, 0.1))])
    assert points(text)[0]["change"] == "2.00 (1.75-2.29)", "half a width of log(1.1) times the root of 2"


def test_rates_of_one_machine_are_shown(tmp_path: Path) -> None:
    text = compared(tmp_path, [row("a", fps=10.0, **speeds(2.0))], [row("b", fps=11.0, **speeds(2.0))])
    (cells,) = points(text)
    assert (cells["fps A"], cells["fps B"]) == ("10.0", "11.0")
    assert "Both are of one machine, a processor" in text


@pytest.mark.parametrize(
    "other",
    [
        OTHER_MACHINE,
        ENVIRONMENT | {"gpu": GPU},
        ENVIRONMENT | {"threads": 8},
        {"git_commit": "nothing else is known"},
    ],
    ids=["processor", "gpu", "threads", "unknown"],
)
def test_rates_of_different_machines_are_not_compared(tmp_path: Path, other: dict[str, Any]) -> None:
    before, after = [row("a", fps=10.0, **speeds(2.0))], [row("b", fps=99.75, **speeds(3.0))]
    text = compared(tmp_path, before, after, second=other)
    (cells,) = points(text)
    assert not any(name.startswith("fps") for name in cells)
    assert "99.75" not in text
    assert "99.8" not in text
    assert "frames per second are not compared, only ratios" in text
    assert cells["B against A"] == "faster", "ratios are"


def test_two_unknown_machines_are_not_one(tmp_path: Path) -> None:
    unknown = {"python": "3.11"}
    text = compared(tmp_path, [row("a", **speeds(2.0))], [row("b", **speeds(2.0))], first=unknown, second=unknown)
    assert "fps A" not in text


def test_what_changed_around_the_points_is_listed(tmp_path: Path) -> None:
    other = ENVIRONMENT | {"packages": {"torch": "2.12.0", "triton": "3.7"}, "git_commit": "abc"}
    text = compared(tmp_path, [row("a", **speeds(2.0))], [row("b", **speeds(2.0))], second=other)
    found = {cells["what"]: (cells["A"], cells["B"]) for cells in table_cells(text, "What changed around them")}
    assert found == {"torch": ("2.11.0", "2.12.0"), "triton": ("", "3.7"), "code": ("", "abc")}


def test_points_of_one_run_only_are_named(tmp_path: Path) -> None:
    both = [row("both", **speeds(2.0))]
    text = compared(tmp_path, [*both, row("old", batch=8)], [*both, ended("new", "oom", "80 GB", batch=64)])
    assert len(points(text)) == 1
    assert "- A: `old`, ok" in text
    assert "- B: `new`, oom" in text


@pytest.mark.parametrize("status", ["oom", "crash", "timeout"])
def test_a_point_that_ended_otherwise_says_how(tmp_path: Path, status: str) -> None:
    """A failed point does not store how many objects, references and targets there were, nor its baseline."""
    failed = ended("b", status, "no", objects=None, refs=None, targets=8)
    options = against("sequential") | {"objects": None, "refs": None, "targets": 8}
    text = compared(tmp_path, [row("a", **speeds(2.0))], [failed], config=options)
    (cells,) = points(text)
    assert cells["B against A"] == f"ok, now {status}"
    assert "change" not in cells


@pytest.mark.parametrize("ended_well", [True, False])
def test_against_another_baseline_it_is_another_point(tmp_path: Path, ended_well: bool) -> None:
    after = row("b", **speeds(2.0, reference="rebuild")) if ended_well else ended("b", "crash", "no")
    options = {"config": against("sequential"), "config_after": against("rebuild")}
    text = compared(tmp_path, [row("a", **speeds(2.0))], [after], **options)
    assert "no grid point in common" in text


def test_without_options_baselines_are_distinguished_by_their_names(tmp_path: Path) -> None:
    text = compared(tmp_path, [row("a", **speeds(2.0))], [row("b", **speeds(2.0, reference="rebuild"))])
    assert "no grid point in common" in text


def test_without_a_baseline_it_is_another_point(tmp_path: Path) -> None:
    unpaired = against("sequential") | {"paired": False}
    text = compared(
        tmp_path, [row("a", **speeds(2.0))], [row("b")], config=against("sequential"), config_after=unpaired
    )
    assert "no grid point in common" in text


def test_nothing_in_common(tmp_path: Path) -> None:
    assert "no grid point in common" in compared(tmp_path, [row("a")], [row("b", batch=8)])


# --- what keeps points from matching -------------------------------------------------------------------------------

STRATEGIES = ("direct", "sequential")


def sweep(speedup: float, **changes: Any) -> list[dict[str, Any]]:
    """A row for each of two strategies at two batches."""
    return [
        row(f"{strategy}-{batch}", strategy=strategy, batch=batch, **speeds(speedup, **changes))
        for strategy in STRATEGIES
        for batch in (1, 8)
    ]


def test_what_keeps_runs_from_matching_is_named(tmp_path: Path) -> None:
    """By what was asked for: of the objects, one run took all, which were four."""
    few, many = ({**against("sequential"), "refs": 2, "targets": 16, "objects": count} for count in (4, None))
    text = compared(tmp_path, sweep(2.0), sweep(2.0, targets=32), config=few, config_after=many | {"targets": 32})
    assert "no grid point in common: objects 4 / all; targets 16 / 32." in text
    assert "`--on strategy,batch`" in text


def test_an_option_without_a_column_and_a_baseline_can_keep_them_apart_too(tmp_path: Path) -> None:
    text = compared(tmp_path, sweep(2.0, options="seed=3"), sweep(2.0, reference="rebuild"))
    assert "baseline sequential / rebuild; seed 3 / default" in text


def test_of_runs_that_match_in_part_it_is_named_for_the_rest(tmp_path: Path) -> None:
    both = [row("both", **speeds(2.0))]
    text = compared(tmp_path, [*both, row("old", batch=8)], [*both, row("new", batch=16)])
    assert "What keeps them from matching: batch 8 / 16." in text
    assert "What keeps them" not in compared(tmp_path / "more", [*both, row("old", batch=8)], both)


def test_points_are_matched_on_what_is_common_if_asked(tmp_path: Path) -> None:
    runs = [
        read_run(run_folder(tmp_path / name, sweep(speedup, targets=targets)))
        for name, speedup, targets in (("first", 2.0, 16), ("second", 4.0, 32))
    ]
    text = render_markdown(comparison_of(*runs, on=["strategy", "batch"]))
    cells = points(text)
    assert [(one["strategy"], one["batch"]) for one in cells] == [
        (strategy, batch) for strategy in STRATEGIES for batch in ("1", "8")
    ]
    assert {one["B against A"] for one in cells} == {"faster"}
    assert "matched by strategy and batch alone, and differ in targets 16 / 32." in text


def test_points_that_are_equal_in_what_was_asked_are_not_mixed_up(tmp_path: Path) -> None:
    runs = [read_run(run_folder(tmp_path / name, sweep(2.0))) for name in ("first", "second")]
    text = render_markdown(comparison_of(*runs, on=["strategy"]))
    assert "no grid point in common" in text
    assert "- A: 2 points of strategy direct, of which it is not known which belong together" in text


def test_what_no_point_has_can_not_be_matched_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run_folder(tmp_path / "run", sweep(2.0)))
    assert main(["compare", folder, folder, "--on", "strategy,bach"]) == 2
    assert "--on bach is not known; did you mean batch?" in complaint(capsys.readouterr().err)


# --- more than two runs --------------------------------------------------------------------------------------------


def test_every_run_has_a_column(tmp_path: Path) -> None:
    found = [
        read_run(run_folder(tmp_path / name, rows, environment=ENVIRONMENT | {"device": name}))
        for name, rows in (("A100", sweep(2.0)), ("H100", sweep(3.0)), ("H200", sweep(2.0)[:2]))
    ]
    text = render_markdown(comparison_of(*found))
    first, *_, last = points(text)
    assert [first[f"speedup {letter}"].partition(" ")[0] for letter in "ABC"] == ["2.00", "3.00", "2.00"]
    assert (first["B against A"], first["change B"].partition(" ")[0]) == ("faster", "1.50")
    assert (first["C against A"], first["change C"].partition(" ")[0]) == ("same", "1.00")
    assert (last["B against A"], last["C against A"], last["speedup C"]) == ("faster", "", "")
    assert "# A100 (A), H100 (B) and H200 (C)" in text
    assert "in two or more of 3 runs; in B, against A: 4 faster; in C, against A: 2 same." in text
    devices = [one for one in table_cells(text, "What changed around them") if one["what"] == "device"]
    assert devices == [{"what": "device", "A": "A100", "B": "H100", "C": "H200"}]
    assert "fps A" not in first, "frames per second of different machines are not compared"


def test_the_command_takes_many_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(run_folder(tmp_path / name, sweep(2.0))) for name in ("one", "two", "three")]
    assert main(["compare", *folders, "--on", "strategy,batch"]) == 0
    assert "# one (A), two (B) and three (C)" in capsys.readouterr().out
    assert main(["compare", *folders * 9]) == 2
    assert "26 runs at most, not 27" in complaint(capsys.readouterr().err)


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_prints_or_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(run_folder(tmp_path / name, [row("a", **speeds(2.0))])) for name in ("one", "two")]
    assert main(["compare", *folders]) == 0
    assert "# one (A) and two (B)" in capsys.readouterr().out
    for ending in ("md", "html"):
        path = tmp_path / f"compared.{ending}"
        assert main(["compare", *folders, "--output", str(path)]) == 0
        assert "one (A) and two (B)" in path.read_text(encoding="utf-8")
    assert "<!doctype html>" in path.read_text(encoding="utf-8")


def test_any_other_file_is_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("a")])
    with pytest.raises(UserError, match=r"neither \.md nor \.html"):
        write_comparison([folder, folder], tmp_path / "compared.pdf")


@pytest.mark.processes
@pytest.mark.parametrize("arguments", [["nowhere"], ["compare", "nowhere", "nowhere"]], ids=["report", "compare"])
def test_a_folder_without_a_run_is_refused_in_one_sentence(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "report", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere holds no finished point")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run_folder(tmp_path / "run", [row("a")]))
    assert main(["compare", folder, folder, "--output", str(tmp_path / "nowhere" / "a.md")]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: --output {tmp_path}/nowhere/a.md can't be written")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("content", [None, 3, "x", {"timing": 3}, {"objects": {}, "seed": [1]}], ids=repr)
def test_options_of_any_kind_crash_nothing(tmp_path: Path, content: Any) -> None:
    folder = run_folder(tmp_path / "run", [row("a", **speeds(2.0))])
    (folder / "points" / "a.json").write_text(json.dumps({"row": row("a", **speeds(2.0)), "config": content}))
    run = read_run(folder)
    assert "1 grid points" in render_markdown(comparison_of(run, run))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "A"], "required: B"),
        (["compare"], "required: A, B"),
        (["compare", "A", "B", "C"], "A holds no finished point"),
        (["compare", "A", "B", "--on"], "--on"),
        (["compare", "A", "B", "--nothing"], "--nothing"),
        (["A", "B"], "B"),
        (["--nothing"], "--nothing"),
    ],
    ids=str,
)
def test_a_command_that_is_no_command_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in complaint(capsys.readouterr().err)

"""Runs and snapshots of former versions still open: those in the repository, and a run with its points' files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.gate.rule import PASS, compare, exit_code
from harness.gate.snapshot import Snapshot, load
from harness.options.config import MarginsConfig
from harness.row import COLUMNS
from harness.store import history
from harness.store.results import RunFolder
from report.compare import comparison_of, write_comparison
from report.reading.run import read_run
from tests.support.harness_runs import point, summary
from tests.support.paths import ROOT
from tests.support.report_runs import ENVIRONMENT, table_cells, table_lines, text_of

RESULTS = ROOT / "results"
EXAMPLE = Path(__file__).parent / "old_runs" / "example"
RUNS = (EXAMPLE, RESULTS / "example", RESULTS / "field-claims")
SNAPSHOTS = sorted((RESULTS / "baselines").glob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", RUNS, ids=["old", "example", "field-claims"])
def test_a_run_of_the_repository_is_reported_again(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / folder.name)
    text = text_of(tmp_path / folder.name)
    assert len(table_lines(text)) == len(summary(folder))
    assert "## Verdict" in text
    assert {"same"} <= {line.get("masks") for line in table_cells(text)}, "the old run's other columns say so"


def test_points_that_did_not_converge_are_marked_as_before(tmp_path: Path) -> None:
    """The old column holds the words True and False."""
    run = read_run(EXAMPLE)
    written = {row["point"]: row["converged"] for row in summary(EXAMPLE)}
    read = {row["point"]: row["converged"] for _, row in run.summary.iterrows()}
    assert set(written.values()) >= {"True", "False"}
    assert read == {name: {"True": True, "False": False}.get(word) for name, word in written.items()}


def test_runs_of_the_repository_are_compared() -> None:
    old, example, claims = (read_run(folder) for folder in RUNS)
    assert comparison_of(old, claims).sections
    assert comparison_of(old, example).sections
    text = write_comparison([EXAMPLE, EXAMPLE])
    assert f"{len(old.summary)} grid points are in both runs" in text


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_a_snapshot_of_the_repository_is_loaded_and_passes_against_itself(path: Path) -> None:
    snapshot = load(path)
    assert snapshot.points
    findings = compare(snapshot, snapshot, MarginsConfig())
    assert exit_code(findings, subset=False) == PASS


def test_there_is_a_snapshot() -> None:
    assert SNAPSHOTS


# --- points/*.json -------------------------------------------------------------------------------------------------

OLD_ROW: dict[str, Any] = {
    **{"point": "direct-shared-b8-oall-0", "strategy": "direct", "variant": "shared", "model": "toy"},
    **{"data": "synthetic", "dtype": "fp32", "batch": 8, "objects": 4, "refs": 2, "targets": 16, "repeat": 0},
    **{"command": "python -m harness strategy=direct", "device": "a processor", "status": "ok", "reason": None},
    **{"fps": 50.0, "objects_per_s": 200.0, "encode_fps": 80.0, "blocks": 4, "converged": False},
    **{"reference": "sequential", "speedup": 4.0, "speedup_lo": 3.9, "speedup_hi": 4.1, "verdict": "faster"},
    **{"iou_mean": 1.0, "iou_p1": 1.0, "iou_min": 1.0, "max_abs_dlogit": 1e-5, "gate_flips": 0, "pick_flips": 0},
}
"""A row from before `masks` was a column, in which what was not measured is missing."""
OLD_BLOCK = {"group": "bees", "round": 0, "place": 0, "targets": 16, "seconds": 1.0, "cpu_seconds": 1.0}


def old_run(folder: Path, **changes: Any) -> Path:
    """A run's folder with one point, whose baseline strategy was called its reference."""
    options = point(batch=8).options
    options["reference"] = options.pop("baseline")
    given = OLD_ROW | changes
    content = {
        "identity": {"config": "0"},
        "row": given,
        "config": options,
        "samples": [OLD_BLOCK | {"side": side} for side in ("reference", "candidate", "candidate", "reference")],
        "details": {},
    }
    (folder / "points").mkdir(parents=True)
    (folder / "points" / f"{given['point']}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT), encoding="utf-8")
    with (folder / "summary.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(given))
        writer.writeheader()
        writer.writerow({name: "" if value is None else value for name, value in given.items()})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"frames_per_fortnight": 12}], ids=["older", "newer"])
def test_a_run_of_another_version_opens_everywhere(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = old_run(tmp_path / "run", **changes)
    text = text_of(folder)
    (line,) = table_cells(text)
    assert (line["masks"], line["fps"], line["speedup"]) == ("same", "50.0", "4.00 (3.90-4.10)*")
    assert "1 grid points are in both runs" in write_comparison([folder, folder])
    assert history.append(folder)
    taken = Snapshot.of_run(folder)
    assert [one.baseline for one in taken.points.values()] == ["sequential"]
    assert exit_code(compare(taken, load(folder), MarginsConfig()), subset=False) == PASS


def test_a_run_of_before_is_gone_on_with(tmp_path: Path) -> None:
    run = RunFolder(old_run(tmp_path / "run"))
    assert run.finished(OLD_ROW["point"], {"config": "0"})
    run.write_summary()
    (line,) = summary(run.path)
    assert tuple(line) == COLUMNS
    assert (line["fps"], line["masks"]) == ("50.0", "")

"""What a report tells of streams: their table, drift, what approximations lose, and the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.stats.means import LEAST_VALUES, mean_with_interval
from report.cli import main
from report.reading.run import read_run
from report.sections.stream_losses import losses
from report.sections.streams import draw_drift, draw_losses
from report.write import report_of as document_of
from tests.support.harness_runs import row
from tests.support.report_runs import CONFIG, report_of, run_folder, table_cells

FOLLOWED: dict[str, Any] = {
    **{"strategy": "stream_batched", "variant": "", "data": "drifting", "scenario": "stream", "batch": 8},
    **{"reference": "stream_session", "speedup": 4.0, "speedup_lo": 3.9, "speedup_hi": 4.1, "verdict": "faster"},
    **{"objects_per_s": 200.0, "step_p50_ms": 20.0, "step_p95_ms": 25.0, "step_p99_ms": 30.0, "step_jitter_ms": 1.5},
    **{"realtime": 1.7, "pair_mb": 0.06, "jf": 0.9, "masks": "same", "iou_min": 1.0, "iou_mean": 1.0},
    **{"floor_iou": 0.9999, "forced_iou_min": 1.0, "converged": True},
}
SHORT = {"variant": "memory_frames=2", "masks": "differ", "objects_per_s": 300.0, "forced_iou_min": None}
STREAMS = CONFIG | {"camera_fps": 30}
DRIFT = {"frame": [1, 2, 3], "oracle": [1.0, 0.99, None], "truth": [0.9, 0.8, 0.85], "floor": [1.0, 1.0, 1.0]}


def stream(*, exact: bool, lost: list[float] | None = None, drift: Any = None) -> dict[str, Any]:
    """Details of a point whose objects' J&F are 0.9 less so much each."""
    found = {f"video/{number}": [0.9 - loss, 0.9 - loss] for number, loss in enumerate(lost or [])}
    return {"stream": {"exact": exact, "of_objects": found, "drift": drift}}


def folder(path: Path, lost: list[float], *, drift: Any = None) -> Path:
    """A run with an exact strategy and an approximation whose objects lose so much J&F each."""
    rows = [row("exact", **FOLLOWED), row("short", **FOLLOWED | SHORT)]
    details = {
        "exact": stream(exact=True, lost=[0.0] * len(lost), drift=drift),
        "short": stream(exact=False, lost=lost, drift=drift),
    }
    return run_folder(path, rows, config=STREAMS, details=details)


def test_streams_have_a_table_and_nothing_else_has(tmp_path: Path) -> None:
    rows = [row("exact", **FOLLOWED), row("other")]
    (cells,) = [one for one in table_cells(report_of(tmp_path / "run", rows, config=STREAMS), "Streams") if one["fps"]]
    assert (cells["strategy"].split(",")[0], cells["batch"], cells["step_p99_ms"]) == ("stream_batched", "8", "30.0")
    assert (cells["realtime"], cells["pair_mb"], cells["floor_iou"]) == ("1.70", "0.06", "0.9999")
    assert "## Streams" not in report_of(tmp_path / "other", [row("other")])


def test_the_verdict_speaks_of_streams_where_only_they_were_measured(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("exact", **FOLLOWED)], config=STREAMS)
    verdict = text.split("## Verdict\n\n")[1].split("\n\n")[0]
    assert verdict == (
        "On a processor, use `stream_batched` with 8 videos at once: at 4 objects it is 4.00 times (95% interval "
        "3.90-4.10) as fast as `stream_session`, with the same masks. It predicts 200.0 (frame, object) pairs per "
        "second; it takes 25.0 ms or less for 95 of 100 steps; it follows each video at 1.70 times the rate of a "
        "camera with 30 frames/s; it keeps 0.06 MB for each (video, object)."
    )


def test_the_fastest_approximation_that_loses_little_is_named(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", [0.001, 0.002, 0.001, 0.002])
    text = report_of_folder(run)
    assert "The fastest approximation that loses less than 0.5 points" in text
    assert "`stream_batched (memory_frames=2)` with 8 videos at once: 300.0 (frame, object) pairs per second" in text
    assert "use `stream_batched` with 8 videos" in text, "an approximation is no strategy with the same masks"


def report_of_folder(run: Path, **options: Any) -> str:
    from report.render.markdown import render_markdown

    return render_markdown(document_of(read_run(run), **options))


@pytest.mark.parametrize("lost", [[0.02, 0.02, 0.02, 0.02], [0.02, -0.02, 0.02, -0.02]])
def test_one_that_may_lose_more_is_not(tmp_path: Path, lost: list[float]) -> None:
    run = folder(tmp_path / "run", lost)
    assert "No approximation loses less than 0.5 points" in report_of_folder(run)
    assert "The fastest approximation that loses less than 5 points" in report_of_folder(run, max_loss=5)


def test_a_loss_is_that_of_each_object_against_itself(tmp_path: Path) -> None:
    found = losses(read_run(folder(tmp_path / "run", [0.01, 0.02, 0.03])))
    assert found.keys() == {"short"}
    loss = found["short"]
    assert (loss.of, loss.points.value) == ("J&F", pytest.approx(2.0))
    assert 0.99 < loss.points.lo < 2.0 < loss.points.hi < 3.01


def test_without_truth_it_is_agreement_that_is_lost(tmp_path: Path) -> None:
    free = {f"video (1)/{number}": {"iou_mean": 0.99} for number in range(4)}
    details = {"short": {"stream": {"exact": False, "of_objects": {}, "free": {"per_object": free}}}}
    run = run_folder(tmp_path / "run", [row("short", **FOLLOWED | SHORT)], config=STREAMS, details=details)
    loss = losses(read_run(run))["short"]
    assert (loss.of, loss.points.value) == ("IoU", pytest.approx(1.0))


@pytest.mark.parametrize("damaged", [None, 3, {"video/1": [0.9]}, {"video/1": "x"}, {"video/1": [None, 1.0]}])
def test_damaged_scores_are_no_loss(tmp_path: Path, damaged: Any) -> None:
    details = {"short": {"stream": {"exact": False, "of_objects": damaged, "free": 3, "drift": damaged}}}
    run = run_folder(tmp_path / "run", [row("short", **FOLLOWED | SHORT)], config=STREAMS, details=details)
    assert losses(read_run(run)) == {}
    assert "## Streams" in report_of_folder(run)


def test_drift_is_drawn_with_what_rounding_alone_does(tmp_path: Path) -> None:
    drawing = draw_drift(read_run(folder(tmp_path / "run", [0.0] * 3, drift=DRIFT)))
    assert drawing is not None
    oracle, truth = drawing.figure.axes
    assert [len(line.get_xdata()) for line in oracle.get_lines()] == [2, 2, 3]
    assert [len(line.get_xdata()) for line in truth.get_lines()] == [3, 3]
    assert draw_drift(read_run(folder(tmp_path / "none", [0.0] * 3))) is None


def test_quality_against_speed_is_drawn_once_there_are_approximations(tmp_path: Path) -> None:
    run = read_run(folder(tmp_path / "run", [0.01] * 3))
    drawing = draw_losses(run, losses(run))
    assert drawing is not None
    assert len(drawing.tooltips) == 2
    assert draw_losses(run, {}) is None


def test_the_fields_claims_about_the_length_of_memory_have_their_rows(tmp_path: Path) -> None:
    def of_frames(frames: int, speedup: float, pair_mb: float) -> dict[str, Any]:
        ends = {"speedup": speedup, "speedup_lo": 0.99 * speedup, "speedup_hi": 1.01 * speedup, "pair_mb": pair_mb}
        return row(f"frames{frames}", **FOLLOWED | SHORT | ends | {"variant": f"memory_frames={frames}"})

    rows = [of_frames(8, 4.4, 0.06), of_frames(12, 3.8, 0.09), of_frames(16, 4.2, 0.12)]
    text = report_of(tmp_path / "run", rows, config=STREAMS | {"experiment": "memory_frames"})
    speed, memory = table_cells(text, "toy, drifting, a processor, fp32")
    assert (speed["verdict"], speed["why"]) == ("refuted", "16 / 8 above 0.51 to 0.91")
    assert memory["verdict"] == "not testable here"
    assert "2.00" in memory["measured"]
    missing = report_of(tmp_path / "few", rows[:1], config=STREAMS | {"experiment": "memory_frames"})
    assert "no finished point stream_batched memory_frames=12" in missing


@pytest.mark.parametrize("loss", ["-1", "much", "nan"])
def test_a_loss_that_is_none_is_refused_in_one_sentence(
    tmp_path: Path, loss: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), f"--max-loss={loss}"]) == 2
    err = capsys.readouterr().err
    assert "--max-loss" in err
    assert err.count("\n") == 1


def test_a_mean_has_an_interval_from_a_few_values_on() -> None:
    assert mean_with_interval([1.0] * (LEAST_VALUES - 1)) is None
    found = mean_with_interval([1.0, 2.0, 3.0, 4.0])
    assert found is not None
    assert found.lo < found.value == 2.5 < found.hi
    assert mean_with_interval([1.0, 2.0, 3.0, 4.0]) == found

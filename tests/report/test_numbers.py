"""Numbers of a report, made again from the raw samples that the run left behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from harness.result import Block
from harness.row import COLUMNS
from harness.stats.speedup import SpeedUp, estimate, log_ratio, verdict
from report.reading.run import read_run
from report.reading.samples import fps_interval
from tests.support.harness_runs import TINY, exit_code, only_run, row
from tests.support.report_runs import report_of, run_folder, table_cells, text_of

Stored = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A run of one point over two groups, and what it stored of it."""
    folder = tmp_path_factory.mktemp("measured")
    tiny = [option for option in TINY if not option.startswith(("data.groups=", "timing.max_seconds="))]
    groups = ("data.groups=2", "timing.groups=2", "seed=3")
    rounds = ("timing.min_rounds=10", "timing.max_seconds=60", "timing.width=1e9")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert exit_code(*tiny, *groups, *rounds, "strategy=direct", "batch=2", "paired=true") == 0
    run = only_run(folder / "results")
    (stored,) = (json.loads(path.read_text(encoding="utf-8")) for path in (run / "points").glob("*.json"))
    return run, stored


@pytest.fixture(scope="module")
def text(measured: Stored) -> str:
    """The text of its report."""
    return text_of(measured[0])


def by_group(stored: dict[str, Any]) -> dict[str, list[Block]]:
    groups: dict[str, list[Block]] = {}
    for sample in stored["samples"]:
        groups.setdefault(sample["group"], []).append(Block(**sample))
    assert len(groups) == 2
    return groups


def seconds_per_target(blocks: list[Block], side: str) -> float:
    return median(one.seconds / one.targets for one in blocks if one.side == side)


def ratios_of(blocks: list[Block]) -> list[float]:
    """Return the log-ratio of each round of a group."""

    def seconds(number: int, side: str) -> list[float]:
        return [block.seconds for block in blocks if block.round == number and block.side == side]

    numbers = range(1 + max(block.round for block in blocks))
    return [log_ratio(seconds(number, "baseline"), seconds(number, "candidate")) for number in numbers]


@pytest.mark.slow
def test_the_speed_up_and_its_interval(measured: Stored, text: str) -> None:
    _, stored = measured
    groups = by_group(stored).values()
    again: SpeedUp = estimate(
        [ratios_of(blocks) for blocks in groups], [seconds_per_target(blocks, "baseline") for blocks in groups], seed=3
    )
    assert [again.ratio, again.lo, again.hi] == pytest.approx(
        [stored["row"][name] for name in ("speedup", "speedup_lo", "speedup_hi")]
    )
    (cells,) = table_cells(text)
    assert cells["speedup"].rstrip("*") == f"{again.ratio:.2f} ({again.lo:.2f}-{again.hi:.2f})"
    assert cells["verdict"] == verdict(again, band=stored["config"]["timing"]["same"])


@pytest.mark.slow
def test_rates_and_times(measured: Stored, text: str) -> None:
    _, stored = measured
    per_target = [seconds_per_target(blocks, "candidate") for blocks in by_group(stored).values()]
    fps = len(per_target) / sum(per_target)  # groups have as many targets
    encode = stored["row"]["encode_fps"]
    job = stored["config"]["project_to"]
    assert table_cells(text)[0]["fps"] == f"{fps:.1f}"
    assert table_cells(text)[0]["objects_per_s"] == f"{2 * fps:.1f}", "two objects"
    (times,) = table_cells(text, "Where the time goes")
    assert times["predict (ms)"] == f"{1000 / fps:.2f}"
    assert times["encode (ms)"] == f"{1000 / encode:.2f}"
    banks = stored["details"]["bank_seconds"].values()
    assert times["bank_s"] == f"{sum(map(median, banks)) / len(banks):.3f}"
    (projected,) = table_cells(text, "Your job")
    assert projected["predict (min)"] == f"{job / fps / 60:.1f}"
    assert projected["projected_min"] == f"{job / fps / 60 + job / encode / 60:.1f}"
    of_candidate = [one for blocks in by_group(stored).values() for one in blocks if one.side == "candidate"]
    cpu = sum(one.cpu_seconds for one in of_candidate) / sum(one.targets for one in of_candidate)
    assert projected["CPU time (h)"] == f"{job * cpu / 3600:.2f}"


@pytest.mark.slow
def test_agreement(measured: Stored, text: str) -> None:
    _, stored = measured
    (cells,) = table_cells(text, "Are the masks the same")
    agreed = stored["details"]["agreement"]
    assert cells["masks"] == "same"
    assert cells["iou_min"] == f"{agreed['iou_min']:.4f}"
    assert cells["IoU >= 0.99"] == f"{agreed['share_at_99']:.1%}"
    assert cells["max_abs_dlogit"] == f"{agreed['max_abs_dlogit']:.1e}"


@pytest.mark.slow
def test_every_cell_under_a_columns_own_name_is_what_the_point_stored(measured: Stored, text: str) -> None:
    """Cells equal the stored values in all digits that they show, in whichever table."""
    _, stored = measured
    shown: set[str] = set()
    for title in re.findall(r"^##+ ([^\n]*)\n\n(?:[^#|]*\n\n)?\| strategy", text, flags=re.MULTILINE):
        for cells in table_cells(text, title):
            for name in cells.keys() & set(COLUMNS) - {"strategy", "speedup"}:
                cell, value = cells[name].rstrip("*"), stored["row"].get(name)
                shown.add(name)
                if isinstance(value, int | float):
                    kind = next((one for one in "e%" if one in cell), "f")
                    form = f",.{len(cell.partition(kind)[0].partition('.')[2])}{kind}"
                    assert cell == f"{value:{form}}", name
                elif cell:
                    assert cell == value, name
    assert shown > {"fps", "peak_rss_mb", "gflop_per_target", "gflop_per_s", "matrix_share", "bank_s", "setup_s", "jf"}


@pytest.mark.slow
def test_the_stages_of_a_prediction(measured: Stored, text: str) -> None:
    _, stored = measured
    watched = stored["details"]["stages"]
    (times,) = table_cells(text, "Where the time goes")
    whole = 1000 / stored["row"]["fps"]
    parts = {name.replace("_", " "): sum(calls) / sum(watched["predict"]) for name, calls in watched["calls"].items()}
    assert parts.keys() == {"memory attention", "mask decoder"}
    for name, share in parts.items():
        assert times[f"{name} (ms)"] == f"{whole * share:.2f}"
    assert times["rest of predict (ms)"] == f"{whole * (1 - sum(parts.values())):.2f}"


@pytest.mark.slow
def test_the_interval_of_a_rate_covers_what_blocks_scatter(measured: Stored) -> None:
    run = read_run(measured[0])
    interval = fps_interval(run, run.summary.iloc[0])
    assert interval is not None
    assert interval.lo < run.summary["fps"].iloc[0] < interval.hi


def block(seconds: float, side: str = "candidate") -> dict[str, Any]:
    return {
        **{"group": "a", "round": 0, "place": 0, "side": side, "targets": 10},
        **{"seconds": seconds, "cpu_seconds": seconds},
    }


@pytest.mark.parametrize(
    "samples",
    [None, 3, [], [block(1.0)], [block(1.0, "baseline")] * 9, [block(0.0)] * 9, [block(float("nan"))] * 9, [None, 3]],
    ids=str,
)
def test_without_two_blocks_a_rate_has_no_interval(tmp_path: Path, samples: Any) -> None:
    folder = run_folder(tmp_path / "run", [row("one", fps=10.0)])
    (folder / "points" / "one.json").write_text(json.dumps({"row": row("one", fps=10.0), "samples": samples}))
    run = read_run(folder)
    assert fps_interval(run, run.summary.iloc[0]) is None


def test_more_scatter_is_a_wider_interval(tmp_path: Path) -> None:
    widths = []
    for spread in (0.01, 0.2):
        folder = run_folder(tmp_path / str(spread), [row("one", fps=10.0)])
        samples = [block(1.0 + spread * (number % 5 - 2)) for number in range(40)]
        (folder / "points" / "one.json").write_text(json.dumps({"row": row("one", fps=10.0), "samples": samples}))
        run = read_run(folder)
        interval = fps_interval(run, run.summary.iloc[0])
        assert interval is not None
        assert interval.lo <= 10.0 <= interval.hi
        widths.append(interval.hi / interval.lo)
    assert widths[0] < 1.03 < widths[1]


def test_energy_is_of_the_whole_job(tmp_path: Path) -> None:
    rows = [row("one", energy_j_per_1000=360.0), row("two", batch=8)]
    text = report_of(tmp_path / "run", rows, config={"project_to": 20_000})
    assert [one["GPU energy (Wh)"] for one in table_cells(text, "Your job")] == ["2.0", ""]
    assert "For a job of 20,000 targets" in text

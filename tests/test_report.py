"""The report of any run folder, of which nothing may be missing but what the run did not measure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.certify import Certificate, Effect, Share
from harness.pairing import Block
from harness.results import PointResult, RunFolder
from harness.speedup import estimate, log_ratio, verdict
from report import write_report
from strategies.errors import UserError
from tests.harness_runs import ROOT, TINY, ended, exit_code, only_run, row

ENVIRONMENT: dict[str, Any] = {
    "device": "a processor",
    "cpu": {"name": "a processor", "cores": 2, "memory_gb": 8.0, "flags": ["avx2"], "torch_capability": "AVX2"},
    "gpu": None,
    "python": "3.11.0",
    "platform": "Linux",
    "packages": {"torch": "2.11.0", "triton": None},
    "threads": 1,
    "git_commit": None,
    "git_changed": None,
}
GPU = {"name": "a card", "uuid": "GPU-1", "memory_gb": 80.0, "capability": "9.0", "driver": None, "cuda": "13.0"}
AGREED = {"iou_mean": 0.9991, "iou_min": 0.9912, "max_abs_dlogit": 1e-5, "gate_flips": 0, "pick_flips": 0, "jf": 0.75}
FASTER = {
    **{"reference": "sequential", "speedup": 4.341, "speedup_lo": 4.212, "speedup_hi": 4.689, "verdict": "faster"},
    **{"blocks": 24, "converged": True},
}
CONFIG = {"timing": {"same": 0.05}, "project_to": 29066}
SERIES: dict[str, list[Any]] = {
    "seconds": [0.0, 0.2, 0.2, 0.4, 0.6],
    "phase": ["", "checking the masks", "timing", "timing", "timing"],
    "rss_mb": [400.0, 410.0, 410.0, None, 420.0],
    "cpu_s": [1.0, 1.2, 1.2, 1.6, 1.9],
}
GPU_SERIES: dict[str, list[Any]] = {
    **{"utilisation": [0, 90, 90, 95, 90], "memory_used_mb": [1000.0, 2000.0, 2000.0, 2100.0, 2100.0]},
    **{"power_w": [80.0, 300.0, 300.0, None, 320.0], "temperature_c": [40, 41, 41, 45, 50]},
    **{"sm_clock_mhz": [1200, 1980, 1980, 1980, 1900]},
}
Details = Mapping[str, dict[str, Any]]


def run_folder(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    environment: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    details: Details | None = None,
) -> Path:
    """A run's folder. details: of the points, by their names."""
    run = RunFolder(folder)
    run.write_json("environment.json", environment or ENVIRONMENT)
    for one in rows:
        run.add(PointResult(row=one, config=config or {}, details=(details or {}).get(one["point"], {})))
    return folder


def report_of(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> str:
    return write_report(run_folder(folder, rows, **options)).read_text(encoding="utf-8")


def draw_scene(folder: Path, points: Sequence[str], *, truth: bool = True) -> None:
    """Pictures as a run keeps them: a reference, one target, the points' predictions."""
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.full((20, 30, 3), 90, dtype=np.uint8))
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[5:10, 5:20] = 254
    for name in ("reference", "target0"):
        picture.save(folder / f"{name}.png")
    for name in ("reference-labels", *(["target0-labels"] if truth else []), *(f"target0-{one}" for one in points)):
        Image.fromarray(labels).save(folder / f"{name}.png")


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        image.load()
        return image.size


def table_lines(text: str, title: str = "Speed") -> list[str]:
    """Lines of the table of points below a title, without its header."""
    return _table(text, title)[2:]


def table_cells(text: str, title: str = "Speed") -> list[dict[str, str]]:
    """Each row's cells by the names of their columns."""
    header, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in _table(text, title))
    return [dict(zip(header, line, strict=True)) for line in lines]


def _table(text: str, title: str) -> list[str]:
    below = text.split(f"# {title}\n", maxsplit=1)[1].split("\n#", maxsplit=1)[0]
    return [line for line in below.splitlines() if line.startswith("|")]


# --- what a report says --------------------------------------------------------------------------------------------


def test_every_point_has_its_line_and_its_command(tmp_path: Path) -> None:
    rows = [
        row("first", batch=1, fps=10.0, command="python -m harness strategy=direct batch=1", **AGREED),
        row("second", batch=8, fps=44.44, command="python -m harness strategy=direct batch=8", **AGREED),
        row("third", strategy="sequential", variant="", fps=4.0, command="python -m harness strategy=sequential"),
    ]
    text = report_of(tmp_path / "run", rows)
    lines = table_lines(text)
    assert [line.split("|")[1].strip() for line in lines] == ["direct (shared)", "direct (shared)", "sequential"]
    assert "44.4" in lines[1]
    assert "0.9912" in table_lines(text, "Masks")[1]
    assert len(table_lines(text, "Masks")) == 2, "those that were compared"
    assert "nan" not in text
    assert "None" not in text
    for one in rows:
        assert one["point"] in text
        assert one["command"] in text
    assert "What did not work" not in text


def test_columns_that_no_point_has_are_left_out(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert "vram_peak_mb" not in text
    assert "iou_min" not in text


def test_the_report_says_where_it_was_measured(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")], environment=ENVIRONMENT | {"gpu": GPU, "git_commit": "abc123"})
    for word in ("a processor", "2 cores", "avx2", "3.11.0", "torch 2.11.0", "a card", "CUDA 13.0", "abc123"):
        assert word in text, word
    assert "triton" not in text, "it was not installed"


def test_a_plot_shows_the_measured_points(tmp_path: Path) -> None:
    rows = [row(f"b{batch}o{objects}", batch=batch, objects=objects) for batch in (1, 8) for objects in (1, 4)]
    text = report_of(tmp_path / "run", rows)
    assert "(throughput.png)" in text
    width, height = size_of(tmp_path / "run" / "throughput.png")
    assert width > height > 300, "two panels side by side"


def test_masks_are_shown_where_the_run_kept_pictures(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", ["one"])
    text = report_of(tmp_path / "run", [row("one"), row("two", strategy="other")])
    assert "(masks.png)" in text
    assert min(size_of(tmp_path / "run" / "masks.png")) > 100


def test_writing_a_report_again_changes_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    first = write_report(folder).read_text(encoding="utf-8")
    assert write_report(folder).read_text(encoding="utf-8") == first


# --- speed-ups -----------------------------------------------------------------------------------------------------


def test_a_speed_up_is_told_with_its_interval_and_its_verdict(tmp_path: Path) -> None:
    rows = [row("one", **FASTER), row("two", batch=8, **FASTER | {"speedup": 0.25, "speedup_lo": None})]
    (first, second) = table_cells(report_of(tmp_path / "run", rows))
    assert first["speedup"] == "4.34 (4.21-4.69)"
    assert first["verdict"] == "faster"
    assert second["speedup"] == "0.25", "one round has no interval"


def test_what_did_not_converge_is_starred_and_the_star_explained_once(tmp_path: Path) -> None:
    hasty = {"converged": False}
    rows = [row("one", **FASTER), row("two", batch=8, **FASTER | hasty), row("alone", strategy="other", **hasty)]
    text = report_of(tmp_path / "run", rows)
    first, second, alone = table_cells(text)
    assert first["speedup"] == "4.34 (4.21-4.69)"
    assert second["speedup"] == "4.34 (4.21-4.69)*"
    assert alone["fps"] == "12.5*"
    assert text.count("did not converge:") == 1
    assert "did not converge:" not in report_of(tmp_path / "other", [row("one", **FASTER)])


def test_the_overview_says_what_a_speed_up_means(tmp_path: Path) -> None:
    details = {
        "one": {"outliers": {"a": [False, True, False], "b": [False]}},
        "two": {"outliers": {"a": [True, False, False]}},
    }
    rows = [row("one", **FASTER), row("two", batch=8, **FASTER)]
    text = report_of(tmp_path / "run", rows, details=details, config={"timing": {"same": 0.07}})
    for words in ("against `sequential`", "ABBA", "95%", "1 + 0.07", "outliers stay in: 2 of 7 over all points"):
        assert words in text, words
    assert "ABBA" not in report_of(tmp_path / "alone", [row("one", converged=True)])


def test_speed_ups_are_plotted_where_there_are_any(tmp_path: Path) -> None:
    rows = [row(f"b{batch}o{count}", batch=batch, objects=count, **FASTER) for batch in (1, 8) for count in (1, 4)]
    assert "(speedup.png)" in report_of(tmp_path / "run", rows, config=CONFIG)
    width, height = size_of(tmp_path / "run" / "speedup.png")
    assert width > height > 300, "two panels side by side"
    assert "speedup.png" not in report_of(tmp_path / "alone", [row("one")])
    assert not (tmp_path / "alone" / "speedup.png").exists()


@pytest.mark.parametrize(
    ("changes", "config"),
    [({"converged": False}, CONFIG), ({"speedup_hi": 6.0}, CONFIG), ({}, {"timing": {"same": 0.5}})],
    ids=["not converged", "wider interval", "wider band"],
)
def test_the_plot_of_speed_ups_shows(tmp_path: Path, changes: dict[str, Any], config: dict[str, Any]) -> None:
    report_of(tmp_path / "run", [row("one", **FASTER)], config=CONFIG)
    report_of(tmp_path / "other", [row("one", **FASTER | changes)], config=config)
    pictures = [(tmp_path / name / "speedup.png").read_bytes() for name in ("run", "other")]
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("speedup", [1e-4, 0.03, 1.0, 70.0, 1e5])
def test_a_speed_up_of_any_size(tmp_path: Path, speedup: float) -> None:
    ends = {"speedup": speedup, "speedup_lo": speedup * 0.99, "speedup_hi": speedup}
    (cells,) = table_cells(report_of(tmp_path / "run", [row("one", **FASTER | ends)], config=CONFIG))
    assert float(cells["speedup"].split()[0]) == pytest.approx(speedup, rel=0.01)


def test_repeated_points_are_told_apart(tmp_path: Path) -> None:
    rows = [row(f"repeat{number}", repeat=number, **FASTER) for number in range(40)]
    cells = table_cells(report_of(tmp_path / "run", rows, config=CONFIG))
    assert [one["repeat"] for one in cells] == [str(number) for number in range(40)]
    assert "repeat" not in table_cells(report_of(tmp_path / "once", [row("one", repeat=3)]))[0]


def test_the_interval_can_be_made_again_from_the_raw_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = [option for option in TINY if option.split("=")[0] not in ("data.groups", "timing.max_seconds")]
    rounds = ("data.groups=2", "timing.min_rounds=10", "timing.max_seconds=2", "seed=3")
    assert exit_code(*tiny, *rounds, "strategy=direct", "batch=2") == 0
    folder = only_run(tmp_path / "results")
    (stored,) = (json.loads(path.read_text(encoding="utf-8")) for path in (folder / "points").glob("*.json"))
    by_group: dict[str, list[Block]] = {}
    for sample in stored["samples"]:
        by_group.setdefault(sample["group"], []).append(Block(**sample))
    again = estimate(
        [ratios_of(blocks) for blocks in by_group.values()],
        [
            median(one.seconds / one.targets for one in blocks if one.side == "reference")
            for blocks in by_group.values()
        ],
        seed=3,
    )
    assert len(by_group) == 2
    assert [again.ratio, again.lo, again.hi] == pytest.approx(
        [stored["row"][name] for name in ("speedup", "speedup_lo", "speedup_hi")]
    )
    (cells,) = table_cells((folder / "report.md").read_text(encoding="utf-8"))
    assert cells["speedup"].rstrip("*") == f"{again.ratio:.2f} ({again.lo:.2f}-{again.hi:.2f})"
    assert cells["verdict"] == verdict(again, band=stored["config"]["timing"]["same"])


def ratios_of(blocks: list[Block]) -> list[float]:
    """The log-ratio of each round of a group."""

    def seconds(number: int, side: str) -> list[float]:
        return [block.seconds for block in blocks if block.round == number and block.side == side]

    numbers = range(1 + max(block.round for block in blocks))
    return [log_ratio(seconds(number, "reference"), seconds(number, "candidate")) for number in numbers]


# --- cost, set-up, what went on meanwhile --------------------------------------------------------------------------


def test_costs_have_a_table(tmp_path: Path) -> None:
    costs = {"gflop_per_s": 44.32, "matrix_share": 0.2678, "projected_min": 7.31, "cpu_s_per_1000": 1.694}
    text = report_of(tmp_path / "run", [row("one", **costs), row("two", batch=8)], config=CONFIG)
    (cells,) = table_cells(text, "Cost and memory")
    assert (cells["strategy"], cells["batch"], cells["objects"]) == ("direct (shared)", "1", "4")
    assert (cells["matrix_share"], cells["gflop_per_s"]) == ("26.8%", "44.3")
    assert (cells["projected_min"], cells["cpu_s_per_1000"]) == ("7.3", "1.69")
    assert "a job of 29,066 targets" in text
    assert "### Masks" not in text
    assert "### GPU" not in text


def test_what_the_gpu_did_has_a_table(tmp_path: Path) -> None:
    of_gpu = {"gpu_util_mean": 91.2, "gpu_power_w": 512.3, "throttle": "sw power cap", "foreign_processes": 0}
    text = report_of(tmp_path / "run", [row("one", **of_gpu), row("two", batch=8, gpu_util_mean=50.0, throttle="")])
    first, second = table_cells(text, "GPU, while the strategy ran alone")
    assert (first["gpu_util_mean"], first["gpu_power_w"], first["throttle"]) == ("91", "512", "sw power cap")
    assert first["foreign_processes"] == "0"
    assert (second["gpu_util_mean"], second["gpu_power_w"], second["throttle"]) == ("50", "", "")


def test_the_set_up_is_told_with_its_parts(tmp_path: Path) -> None:
    parts = {"process": 3.04, "model": 0.52, "features": 0.11}
    rows = [row("one", setup_s=3.67), row("two", batch=8, setup_s=5.0)]
    text = report_of(tmp_path / "run", rows, details={"one": {"setup_seconds": parts}})
    assert "Setting up took 4.3 s a point (process and imports 3.0 s, model 0.5 s, features 0.1 s)" in text
    assert "never inside the clock" in text
    assert "Setting up took 5.0 s a point, in" in report_of(tmp_path / "other", [row("one", setup_s=5.0)])
    assert "Setting up" not in report_of(tmp_path / "without", [row("one")])


@pytest.mark.parametrize("gpu", [False, True], ids=["on a processor", "on a GPU"])
def test_what_was_sampled_is_plotted(tmp_path: Path, gpu: bool) -> None:
    series = SERIES | (GPU_SERIES if gpu else {})
    text = report_of(tmp_path / "run", [row("one"), row("two", strategy="other")], details={"one": {"series": series}})
    assert "## While it ran" in text
    width, height = size_of(tmp_path / "run" / "series.png")
    assert (height > width) == gpu, "five quantities, else two"


def test_where_nothing_was_sampled_there_is_no_plot_of_it(tmp_path: Path) -> None:
    assert "While it ran" not in report_of(tmp_path / "run", [row("one")])
    assert not (tmp_path / "run" / "series.png").exists()


def test_of_each_strategy_the_longest_series_is_shown(tmp_path: Path) -> None:
    longer = {name: [*values, *(values[-1:] * 3)] for name, values in SERIES.items()}
    longer["seconds"][-3:] = [0.8, 1.0, 1.2]
    rows = [row("one"), row("two", batch=8)]
    pictures = []
    for name, others in (("both", SERIES), ("same", SERIES), ("none", None)):
        report_of(tmp_path / name, rows, details={"one": {"series": others}, "two": {"series": longer}})
        pictures.append((tmp_path / name / "series.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2], "the shorter one makes no difference"
    report_of(tmp_path / "short", rows, details={"one": {"series": SERIES}})
    assert (tmp_path / "short" / "series.png").read_bytes() != pictures[0]


def test_long_series_of_many_strategies(tmp_path: Path) -> None:
    count = 10_000
    series = {name: (values * count)[:count] for name, values in (SERIES | GPU_SERIES).items()}
    series["seconds"] = [0.2 * index for index in range(count)]
    rows = [row(f"point{number}", strategy=f"Größe {number} 🌿") for number in range(10)]
    report_of(tmp_path / "run", rows, details={one["point"]: {"series": series} for one in rows})
    assert max(size_of(tmp_path / "run" / "series.png")) < 4000


def test_each_note_of_the_monitor_is_told_once(tmp_path: Path) -> None:
    notes = {"one": "The GPU's columns are empty: no driver.", "two": "The GPU's columns are empty: no driver."}
    rows = [row("one"), row("two", batch=8), row("three", batch=16)]
    details = {name: {"monitor_note": note, "series": SERIES} for name, note in notes.items()}
    text = report_of(tmp_path / "run", rows, details=details | {"three": {"monitor_note": None}})
    assert text.count("no driver") == 1
    assert "no driver" in report_of(tmp_path / "other", rows[:1], details={"one": {"monitor_note": notes["one"]}})


# --- certificates --------------------------------------------------------------------------------------------------


def share(found: int, count: int) -> Share:
    return Share.of([True] * found + [False] * (count - found))


def certificate(made: str, *, device: str = "a processor", smallest: float | None = 0.05) -> dict[str, Any]:
    """As it is stored; its number of comparisons is the day on which it was made."""
    return asdict(
        Certificate(
            device=device,
            made=made,
            git_commit="abcdef0123456789",
            strategy="direct",
            model="toy",
            dtype="fp32",
            batch=8,
            objects=4,
            same=0.05,
            false_alarms=share(1, int(made[8:10])),
            effects=[Effect(slowdown=0.07, detected=share(9, 10), median_speedup=0.9346)],
            smallest_detected=smallest,
            run="20261121-000000-000000-certify",
        )
    )


def store(results: Path, *contents: dict[str, Any] | str) -> None:
    folder = results / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{number}.json").write_text(text, encoding="utf-8")


def test_without_a_certificate_the_report_says_how_to_get_one(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert "There is no certificate for a processor yet: `python -m harness.certify` makes one." in text


def test_the_latest_certificate_of_the_device_is_shown(tmp_path: Path) -> None:
    store(
        tmp_path,
        certificate("2026-11-20T23:00:00+00:00"),
        certificate("2026-11-21T00:30:00+02:00"),
        certificate("2026-11-30T00:00:00+00:00", device="another processor"),
    )
    text = report_of(tmp_path / "run", [row("one")])
    assert "1 of 20 comparisons" in text, "22:30 in Greenwich is earlier than 23:00"
    for words in (
        "false alarms at a rate of 5.0% (0.1%-24.9%)",
        "2026-11-20",
        "abcdef01",
        "found slow-downs of 5% and more",
    ):
        assert words in text, words
    (effect,) = table_cells(text, "How far to trust it")
    assert list(effect.values()) == ["7%", "9 of 10", "90.0% (55.5%-99.7%)", "0.935"]
    assert "no certificate" not in text


def test_a_certificate_that_found_nothing_reliably(tmp_path: Path) -> None:
    store(tmp_path, certificate("2026-11-20T23:00:00", smallest=None))
    assert "found none of the slow-downs below" in report_of(tmp_path / "run", [row("one")])


def test_damaged_certificates_are_as_good_as_none(tmp_path: Path) -> None:
    good = certificate("2026-11-21T00:00:00+00:00")
    store(
        tmp_path,
        *("", "{", "[]", "null", "3", "{}", json.dumps(good)[:100]),
        *(
            good | {name: value}
            for name in ("made", "false_alarms", "effects", "device")
            for value in (None, 3, "x", [3])
        ),
        good | {"false_alarms": good["false_alarms"] | {"rate": "much"}},
        good | {"effects": [{"slowdown": 0.1}]},
    )
    text = report_of(tmp_path / "run", [row("one")], environment=ENVIRONMENT | {"device": "a GPU"})
    assert "There is no certificate for a GPU yet" in text
    (tmp_path / "certificates" / "good.json").write_text(json.dumps(good), encoding="utf-8")
    assert "1 of 21 comparisons" in report_of(tmp_path / "other", [row("one")])


# --- unusual runs --------------------------------------------------------------------------------------------------


def test_where_nothing_was_measured_the_report_says_why_and_has_no_plot(tmp_path: Path) -> None:
    rows = [
        ended("one", "skipped", "frames/00003.jpg is cut off"),
        ended("two", "crash", "RuntimeError: no", objects=None, targets=None, refs=None),
        ended("three", "oom", "OutOfMemoryError: 80 GB"),
        ended("four", "timeout", "it took longer than 600 s, while timing"),
    ]
    text = report_of(tmp_path / "run", rows)
    assert "frames/00003.jpg is cut off" in text
    assert "RuntimeError: no" in text
    assert "`four` is **timeout**: it took longer than 600 s, while timing" in text
    assert len(table_lines(text)) == 4
    assert "throughput.png" not in text
    assert "masks.png" not in text
    assert not list((tmp_path / "run").glob("*.png"))


def test_a_wrong_point_is_told_and_not_plotted(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", status="wrong", reason="3 gate or best-of-3 flips")])
    assert "`one` is **wrong**, so it has no speed-up: 3 gate or best-of-3 flips" in text
    assert "throughput.png" not in text
    assert "speedup.png" not in text


def test_one_point_is_enough(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert len(table_lines(text)) == 1
    assert min(size_of(tmp_path / "run" / "throughput.png")) > 100


def test_a_run_without_pictures_or_truth(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", [], truth=False)
    assert "(masks.png)" in report_of(tmp_path / "run", [row("one")])
    assert "masks.png" not in report_of(tmp_path / "other", [row("one")])


@pytest.mark.parametrize(
    "reason",
    ["木 und Größe 🌿 fehlen", "a | b | c", "1,5 \"GB\" and 'more'"],
    ids=["letters", "bars", "quotes"],
)
def test_any_reason_is_told_as_it_is(tmp_path: Path, reason: str) -> None:
    text = report_of(tmp_path / "run", [row("zero"), ended("one", "crash", reason)])
    assert reason in text
    assert len({line.count("|") for line in table_lines(text)}) == 1, "the table keeps its columns"


DAMAGED: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a list": lambda path: path.write_text("[]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_points_leave_what_the_summary_says(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    details = {"one": {"series": SERIES, "outliers": {"a": [True]}}, "two": {"series": SERIES}}
    rows = [row("one", setup_s=4.0, **FASTER), row("two", strategy="other")]
    folder = run_folder(tmp_path / "run", rows, config=CONFIG, details=details)
    for path in (folder / "points").glob("*.json"):
        damage(path)
    text = write_report(folder).read_text(encoding="utf-8")
    assert "4.34 (4.21-4.69)" in text
    assert "Setting up took 4.0 s" in text
    assert "While it ran" not in text
    assert "outliers" not in text


@pytest.mark.parametrize("damaged", [None, 3, "x", [None], {"a": ["x", None, {}]}], ids=repr)
@pytest.mark.parametrize(
    "place", ["details", "config", "series", "outliers", "setup_seconds", "monitor_note", "timing"]
)
def test_details_of_any_kind_crash_nothing(tmp_path: Path, place: str, damaged: Any) -> None:
    folder = run_folder(tmp_path / "run", [row("one", **FASTER, setup_s=4.0)])
    details, config = {"series": SERIES}, CONFIG
    if place == "timing":
        content: dict[str, Any] = {"details": details, "config": config | {place: damaged}}
    elif place in ("details", "config"):
        content = {"details": details, "config": config} | {place: damaged}
    else:
        content = {"details": details | {place: damaged}, "config": config}
    (folder / "points" / "one.json").write_text(json.dumps(content))
    assert "4.34 (4.21-4.69)" in write_report(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": [0.0]},
        {"seconds": [float("nan")] * 5},
        {"seconds": [0.0] * 5},
        {"seconds": ["a"] * 5},
        {"seconds": [4.0, 3.0, 2.0, 1.0, 0.0]},
        {"phase": [1, None, {}, [], "timing"]},
        {"phase": [f"phase {number}" for number in range(5)]},
        {"rss_mb": [float("nan")] * 5, "cpu_s": [None] * 5},
        {"rss_mb": [1.0]},
        {"rss_mb": ["a", {}, [], None, 0.0], "cpu_s": [0.0] * 5},
        {"utilisation": [None] * 5, "power_w": [0, 0, 0, 0, float("inf")]},
    ],
    ids=str,
)
def test_series_of_any_kind_crash_nothing(tmp_path: Path, changes: dict[str, list[Any]]) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    content = {"details": {"series": SERIES | changes}}
    (folder / "points" / "one.json").write_text(json.dumps(content))  # with NaN, as Python writes it
    assert len(table_lines(write_report(folder).read_text(encoding="utf-8"))) == 1


@pytest.mark.parametrize("name", ["Größe 木", "a|b", "$x_{", "_mine", "a*b*", "%s {}"])
def test_a_strategy_of_any_name(tmp_path: Path, name: str) -> None:
    one = row("one", strategy=name, variant="", **FASTER, **AGREED)
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", ["one"])
    text = report_of(tmp_path / "run", [one], config=CONFIG, details={"one": {"series": SERIES}})
    assert len({line.replace("\\|", "").count("|") for line in table_lines(text)}) == 1
    assert name.replace("|", "\\|") in text


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [
        row("one", fps=nan, **FASTER | {"speedup": nan, "speedup_lo": nan, "speedup_hi": nan}),
        row("two", batch=8, fps=float("inf"), **FASTER | {"speedup_lo": nan}),
    ]
    first, second = table_cells(report_of(tmp_path / "run", rows))
    assert (first["fps"], first["speedup"]) == ("", "")
    assert second["speedup"] == "4.34"


def test_a_note_of_a_point_that_is_ok_is_told(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", reason="the reference strategy ran out of memory")])
    assert "`one` is **ok**: the reference strategy ran out of memory" in text


def test_a_run_of_before_there_were_speed_ups(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("one", **AGREED)])
    kept = ("point", "strategy", "variant", "model", "data", "device", "dtype", "batch", "objects", "refs", "targets")
    one = row("one", status="ok", reason="")
    lines = [
        ",".join((*kept, "status", "reason", "fps")),
        ",".join(str(one[name]) for name in (*kept, "status")) + ",,1.5",
    ]
    (folder / "summary.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (cells,) = table_cells(write_report(folder).read_text(encoding="utf-8"))
    assert cells["fps"] == "1.5"
    assert "speedup" not in cells


def test_masks_that_overflowed_are_told(tmp_path: Path) -> None:
    overflowed = AGREED | {"max_abs_dlogit": float("inf"), "iou_min": 0.0}
    text = report_of(tmp_path / "run", [row("one", status="wrong", reason="too far", **overflowed)])
    assert "inf" in text


def test_sixty_points_of_ten_strategies(tmp_path: Path) -> None:
    rows = [
        row(f"point{strategy}-{batch}-{objects}", strategy=f"strategy{strategy}", batch=batch, objects=objects)
        for strategy in range(10)
        for batch in (1, 8, 64)
        for objects in (1, 16)
    ]
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o16", [one["point"] for one in rows])
    text = report_of(tmp_path / "run", rows)
    assert len(table_lines(text)) == 60
    for name in ("throughput.png", "masks.png"):
        assert max(size_of(tmp_path / "run" / name)) < 4000, name


# --- folders that are no run ---------------------------------------------------------------------------------------


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished point"):
        write_report(tmp_path)


def test_the_command_refuses_a_folder_without_a_run_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "report", "nowhere"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("environment", [None, "", "{", "[]"], ids=["missing", "empty", "cut off", "a list"])
def test_a_damaged_environment_is_left_out(tmp_path: Path, environment: str | None) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    (folder / "environment.json").unlink()
    if environment is not None:
        (folder / "environment.json").write_text(environment)
    text = write_report(folder).read_text(encoding="utf-8")
    assert "## Environment" not in text
    assert "12.5" in text


@pytest.mark.parametrize("kept", [None, 0, 30, 400], ids=["missing", "empty", "cut in its header", "cut in a row"])
def test_a_point_that_the_summary_lacks_is_read_from_its_own_file(tmp_path: Path, kept: int | None) -> None:
    folder = run_folder(tmp_path / "run", [row("one", fps=11.5), row("two", batch=8, fps=22.5)])
    text = (folder / "summary.csv").read_text(encoding="utf-8")
    (folder / "summary.csv").unlink()
    if kept is not None:
        (folder / "summary.csv").write_text(text[:kept], encoding="utf-8")
    told = write_report(folder).read_text(encoding="utf-8")
    assert "2 points (2 ok)" in told
    assert "11.5" in told
    assert "22.5" in told

"""The field's claims beside what was measured: confirmed, refuted, or not testable here, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.options.compose import compose
from harness.result import Block
from report.reading.run import read_run
from report.render.document import Document
from report.render.markdown import render_markdown
from report.sections.field_claims import claims_section
from tests.support.harness_runs import ended, row
from tests.support.report_runs import ENVIRONMENT, report_of, run_folder, table_cells

CONFIG = {"experiment": "field_claims"}
TITLE = "toy, synthetic, a processor, fp32"
H100 = "NVIDIA H100 80GB HBM3"
STAGES = {"calls": {"memory_attention": [0.0029, 0.003, 0.0031] * 3, "mask_decoder": [0.05]}, "encode": [0.015] * 3}


def one(name: str, strategy: str, variant: str = "", *, speedup: float | None = None, **changes: Any) -> dict[str, Any]:
    ratio = {} if speedup is None else {"speedup": speedup, "speedup_lo": 0.98 * speedup, "speedup_hi": 1.02 * speedup}
    point = {"strategy": strategy, "variant": variant, "reference": "sequential", "batch": 8, "refs": 8, "objects": 1}
    return row(name, **point | ratio | changes)


def cells(folder: Path, rows: Sequence[dict[str, Any]], *, device: str = "a processor", **options: Any) -> Any:
    """Return the claims' rows by the first words of the claims."""
    rows = [one | {"device": device} for one in rows]
    environment = ENVIRONMENT | {"device": device}
    text = section_of(folder, rows, environment=environment, **options)
    found = table_cells(text, f"{rows[0]['model']}, synthetic, {device}, fp32")
    return lambda words: next(cell for cell in found if cell["claim"].startswith(words))


def section_of(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> str:
    section = claims_section(read_run(run_folder(folder, rows, config=CONFIG, **options)))
    assert section is not None
    return render_markdown(Document(title="a run", sections=(section,)))


def verdict(cell: dict[str, str]) -> str:
    return cell["verdict"]


def test_only_the_experiments_report_has_claims_and_they_follow_the_verdict(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row()], config=CONFIG)
    assert text.index("## Verdict") < text.index("## The field's claims") < text.index("## All points")
    assert "claims" not in report_of(tmp_path / "other", [row()])


def test_without_points_every_claim_says_what_it_needs(tmp_path: Path) -> None:
    text = section_of(tmp_path / "run", [one("a", "propagate")])
    found = table_cells(text, TITLE)
    assert len(found) == 12
    for cell in found:
        assert verdict(cell) == "not testable here"
        assert cell["why"].startswith("no finished point ")


@pytest.mark.parametrize(
    ("slower", "expected"),
    [((10, 15, 22), "confirmed"), ((2, 3, 4), "refuted"), ((2, 3, 17.2), "not testable here")],
)
def test_rebuild_is_as_slow_as_claimed_at_some_number_of_references(
    tmp_path: Path, slower: tuple[float, ...], expected: str
) -> None:
    rows = [one(f"r{refs}", "rebuild", refs=refs, speedup=1 / by) for refs, by in zip((8, 12, 16), slower, strict=True)]
    cell = cells(tmp_path / "run", rows)("rebuild")
    assert verdict(cell) == expected
    assert f"8 references: {slower[0]:.2f} ({slower[0] / 1.02:.2f}-{slower[0] / 0.98:.2f})" in cell["measured"]


@pytest.mark.parametrize(
    ("speedups", "expected", "why"),
    [
        ((4, 6), "confirmed", "batch 8 within 3.00 to 7.00; batch 16 within"),
        ((4, 9), "refuted", "batch 16 above 3.00 to 7.00"),
        ((4, 7), "not testable here", "batch 16 not clearly within 3.00 to 7.00, nor outside"),
        ((1, 7), "refuted", "batch 8 below"),
    ],
)
def test_batches_gain_what_is_claimed_or_less_or_more(
    tmp_path: Path, speedups: tuple[float, float], expected: str, why: str
) -> None:
    rows = [
        one(f"d{batch}", "direct", "shared", batch=batch, speedup=by)
        for batch, by in zip((8, 16), speedups, strict=True)
    ]
    cell = cells(tmp_path / "run", rows)("batches")
    assert verdict(cell) == expected
    assert cell["why"].startswith(why)


def test_a_run_of_which_nothing_finished_says_so_of_every_claim(tmp_path: Path) -> None:
    found = table_cells(section_of(tmp_path / "run", [ended("gone", "crash", "no", refs=8)]), TITLE)
    assert len(found) == 12
    assert {verdict(cell) for cell in found} == {"not testable here"}


def test_rates_are_shown_without_a_verdict(tmp_path: Path) -> None:
    rows = [
        *(one(f"d{batch}", "direct", "shared", batch=batch, fps=600.0 + batch) for batch in (8, 16)),
        *(one(strategy, strategy, fps=155.25) for strategy in ("rebuild", "sequential")),
    ]
    cell = cells(tmp_path / "run", rows)("fps")
    assert cell["measured"] == "rebuild: 155; sequential: 155; batch 8: 608; batch 16: 616"
    assert verdict(cell) == "not testable here"


@pytest.mark.parametrize("ends", [(0.0, 2.0), (1.5, 2.0), (float("nan"), 2.0)])
def test_an_interval_that_is_none_decides_nothing(tmp_path: Path, ends: tuple[float, float]) -> None:
    odd = {"speedup": 1.0, "speedup_lo": ends[0], "speedup_hi": ends[1]}
    rows = [
        one("e", "extended_session", **odd),
        *(one(f"r{refs}", "rebuild", refs=refs, **odd) for refs in (8, 12, 16)),
    ]
    cell = cells(tmp_path / "run", rows)
    for claim in ("an extended session", "rebuild"):
        assert cell(claim)["why"].endswith("has no interval of its speed-up over sequential")


def test_a_processor_beside_an_h100_is_none(tmp_path: Path) -> None:
    rows = [one(name, "sequential", model="big", device=name) for name in ("cpu", H100)]
    details = {name: {"stages": STAGES} for name in ("cpu", H100)}
    text = section_of(tmp_path / "run", rows, environment=ENVIRONMENT | {"device": H100}, details=details)
    for name, expected in (("cpu", "not testable here"), (H100, "confirmed")):
        found = table_cells(text, f"big, synthetic, {name}, fp32")
        assert [verdict(cell) for cell in found if "encoder" in cell["claim"]] == [expected]


def test_a_point_that_did_not_finish_is_named_with_its_end(tmp_path: Path) -> None:
    rows = [
        one("d8", "direct", "shared", speedup=4),
        ended("d16", "oom", "80 GB", batch=16, refs=8, objects=None),
    ]
    text = section_of(tmp_path / "run", rows)
    (cell,) = (one for one in table_cells(text, TITLE) if one["claim"].startswith("batches of 8 to 16 are"))
    assert cell["why"] == "no finished point direct shared batch=16 refs=8 (one ended as oom)"


@pytest.mark.parametrize(
    ("device", "model", "expected"),
    [
        ("a processor", "sam2.1_hiera_tiny", ["not testable here"] * 3),
        (H100, "toy", ["not testable here"] * 3),
        (H100, "sam2.1_hiera_tiny", ["confirmed", "refuted", "confirmed"]),
    ],
)
def test_stages_have_a_verdict_on_the_claimed_device_and_are_shown_everywhere(
    tmp_path: Path, device: str, model: str, expected: list[str]
) -> None:
    rows = [one("s", "sequential", model=model)]
    cell = cells(tmp_path / "run", rows, device=device, details={"s": {"stages": STAGES}})
    found = [cell(stage) for stage in ("memory attention", "the mask decoder", "the vision encoder")]
    measured = [one["measured"].split(" (")[0] for one in found]
    assert measured == [f"ms a call: {ms}" for ms in ("3.00", "50.00", "15.00")]
    assert list(map(verdict, found)) == expected


@pytest.mark.parametrize(("share", "expected"), [(None, "not testable here"), (52, "confirmed"), (95, "refuted")])
def test_utilisation_needs_a_gpu(tmp_path: Path, share: float | None, expected: str) -> None:
    cell = cells(tmp_path / "run", [one("s", "sequential", gpu_util_mean=share)])("sequential uses")
    assert verdict(cell) == expected


def samples(fps: float) -> list[Block]:
    """Return the blocks of the baseline's side at a speed."""
    return [
        Block(group="a", round=at, place=1, side="baseline", targets=10, seconds=10 / fps, cpu_seconds=1.0)
        for at in range(8)
    ]


@pytest.mark.parametrize(
    ("speeds", "spread", "expected"),
    [
        ((44, 38, 30), 1.05, "confirmed"),
        ((100, 90, 70), 1.05, "confirmed"),
        ((44, 43, 42), 1.01, "refuted"),
        ((44, 45, 30), 1.01, "refuted"),
        ((44, 38, 30), 1.5, "not testable here"),
    ],
)
def test_memory_frames_cost_the_claimed_share_of_speed_whatever_the_process(
    tmp_path: Path, speeds: tuple[float, ...], spread: float, expected: str
) -> None:
    rows, blocks = [], {}
    for strategy, faster in (("sequential", 1.0), ("rebuild", spread)):
        for refs, fps in zip((8, 12, 16), speeds, strict=True):
            rows.append(one(f"{strategy}{refs}", strategy, refs=refs))
            blocks[f"{strategy}{refs}"] = samples(fps * faster)
    cell = cells(tmp_path / "run", rows, samples=blocks)("8, 12 and 16 memory frames run")
    assert verdict(cell) == expected
    ratio = speeds[2] / speeds[0]
    assert f"16 / 8: {ratio:.2f} ({ratio / spread:.2f}-{ratio * spread:.2f})" in cell["measured"]


def test_one_process_does_not_show_how_much_processes_differ(tmp_path: Path) -> None:
    rows = [one(f"s{refs}", "sequential", refs=refs) for refs in (8, 12, 16)]
    blocks = {row["point"]: samples(10) for row in rows}
    cell = cells(tmp_path / "run", rows, samples=blocks)("8, 12 and 16 memory frames run")
    assert cell["why"] == "fewer than two points with refs=8 were timed against sequential"


def test_memory_of_memory_frames_has_a_verdict_on_a_gpu_only(tmp_path: Path) -> None:
    rows = [one(f"s{refs}", "sequential", refs=refs, peak_rss_mb=500.0 + refs) for refs in (8, 16)]
    words = "8 and 16 memory frames take"
    assert verdict(cells(tmp_path / "cpu", rows)(words)) == "not testable here"
    rows = [one | {"vram_peak_mb": 225.0 * one["refs"]} for one in rows]
    assert verdict(cells(tmp_path / "gpu", rows)(words)) == "confirmed"


@pytest.mark.parametrize(
    ("peaks", "more", "expected"),
    [
        ((500, 570, 650), (500, 800), "confirmed"),
        ((500, 570, 650), (500, 650), "refuted"),
        ((500, 560, 570), (500, 800), "refuted"),
        ((500, 490, 570), (500, 800), "refuted"),
        ((500, 510, 520), (500, 530), "not testable here"),
    ],
)
def test_sessions_add_up_and_grow_with_the_bank(
    tmp_path: Path, peaks: tuple[float, ...], more: tuple[float, ...], expected: str
) -> None:
    few = zip((1, 8, 16), (8, 8, 8), peaks, strict=True)
    many = zip((1, 16), (16, 16), more, strict=True)
    rows = [
        one(f"m{batch}-{refs}", "multi_session", batch=batch, refs=refs, peak_rss_mb=float(peak))
        for batch, refs, peak in (*few, *many)
    ]
    assert verdict(cells(tmp_path / "run", rows)("multi-session")) == expected


@pytest.mark.parametrize(("speedup", "expected"), [(0.5, "confirmed"), (1.1, "confirmed"), (2, "refuted")])
def test_an_extended_session_gains_little_or_not(tmp_path: Path, speedup: float, expected: str) -> None:
    rows = [one("e", "extended_session", "pinned", speedup=speedup)]
    assert verdict(cells(tmp_path / "run", rows)("an extended session")) == expected


@pytest.mark.parametrize(
    ("repeated", "expected", "why"),
    [
        (700, "confirmed", "200 MB less at batch 16"),
        (510, "not testable here", "less than 5% apart"),
        (400, "refuted", "100 MB more at batch 16"),
    ],
)
def test_broadcasting_is_compared_with_repeating(tmp_path: Path, repeated: float, expected: str, why: str) -> None:
    rows = [
        one(bank, "direct", bank, batch=16, objects=4, peak_rss_mb=peak)
        for bank, peak in (("shared", 500.0), ("repeat", float(repeated)))
    ]
    fewer = [one("few", "direct", "shared", batch=16, peak_rss_mb=1.0)]
    cell = cells(tmp_path / "run", fewer + rows)("broadcasting")
    assert (verdict(cell), cell["why"]) == (expected, why)


def test_each_model_has_its_own_table(tmp_path: Path) -> None:
    rows = [one("a", "extended_session", speedup=1.0), one("b", "extended_session", model="other", speedup=2.0)]
    text = section_of(tmp_path / "run", rows)
    for model, expected in (("toy", "confirmed"), ("other", "refuted")):
        found = table_cells(text, f"{model}, synthetic, a processor, fp32")
        assert [verdict(cell) for cell in found if "extended" in cell["claim"]] == [expected]


@pytest.mark.slow
def test_the_experiments_points_serve_every_claim_that_needs_no_gpu(tmp_path: Path) -> None:
    """The experiment's own points would give these rows, and no claim misses one."""
    rows, details, blocks = [], {}, {}
    for point in compose(["+experiment=field_claims"]):
        config = point.config
        changes = {"batch": config.batch, "refs": config.refs, "objects": config.objects or 4, "peak_rss_mb": 500.0}
        rows.append(one(point.name, point.strategy, point.variant, speedup=1.0, **changes))
        details[point.name] = {"stages": STAGES}
        blocks[point.name] = samples(12.5)
    text = section_of(tmp_path / "run", rows, details=details, samples=blocks)
    assert "no finished point" not in text

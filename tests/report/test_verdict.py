"""The verdict of a report: which strategy to use at what cost, or that this is not clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.harness_runs import ended, row
from tests.support.report_runs import AGREED, CONFIG, FASTER, report_of, table_cells

OPTIONS = CONFIG | {"strategy": {"_target_": "strategies.direct.Direct", "bank": "shared"}}
COST = {"peak_rss_mb": 1234.0, "projected_min": 7.31}
SLOWER = FASTER | {"speedup": 0.5, "speedup_lo": 0.45, "speedup_hi": 0.55, "verdict": "slower"}


def speeds(speedup: float, lo: float, hi: float, verdict: str = "faster") -> dict[str, Any]:
    return FASTER | AGREED | {"speedup": speedup, "speedup_lo": lo, "speedup_hi": hi, "verdict": verdict}


def verdict_of(text: str) -> str:
    return text.split("## Verdict\n\n")[1].split("\n\n## ")[0]


def test_the_surest_of_the_fast_is_recommended_with_its_cost_and_its_command(tmp_path: Path) -> None:
    rows = [
        row("sure", batch=8, command="python -m harness batch=8", **speeds(4.0, 3.9, 4.1), **COST),
        row("lucky", batch=16, **speeds(5.0, 3.0, 8.0)),
        row("slow", strategy="rebuild", variant="", **SLOWER | AGREED),
    ]
    text = verdict_of(report_of(tmp_path / "run", rows, config=OPTIONS))
    first, second = text.split("\n\n")[0].split(". It ")
    assert first == (
        "On a processor, use `direct (shared)` with batch 8: at 4 objects it is 4.00 times (95% interval 3.90-4.10) as "
        "fast as `sequential`, with the same masks; `direct (shared)` with batch 16 may be as fast"
    )
    assert second == (
        "takes 1,234 MB of memory (process and model included), and would be done with 29,066 targets in 7.3 min, the "
        "encoder included."
    )
    assert "`Direct(model)`, given 8 targets at once" in text
    assert "```sh\npython -m harness batch=8\n```" in text


def test_memory_is_that_of_the_gpu_where_there_is_one(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", **speeds(4.0, 3.9, 4.1), peak_rss_mb=5000, vram_peak_mb=2345.0)])
    assert "It takes 2,345 MB of the GPU's memory." in verdict_of(text)


def test_each_number_of_objects_has_its_own_best(tmp_path: Path) -> None:
    rows = [
        row("a", objects=1, batch=1, **speeds(2.0, 1.9, 2.1)),
        row("b", objects=1, batch=8, **speeds(1.5, 1.4, 1.6)),
        row("c", objects=16, batch=8, **speeds(9.0, 8.9, 9.1)),
    ]
    text = report_of(tmp_path / "run", rows)
    first, second = table_cells(text, "For each setting")
    assert (first["objects"], first["batch"], first["clearly faster"]) == ("1", "1", "yes")
    assert (second["objects"], second["batch"]) == ("16", "8")
    assert "at 16 objects it is 9.00 times" in verdict_of(text)


@pytest.mark.parametrize("strategy", ["direct", "sequential"])
def test_nothing_is_recommended_that_is_not_clearly_faster(tmp_path: Path, strategy: str) -> None:
    rows = [row("one", strategy=strategy, variant="", **speeds(1.02, 0.97, 1.07, "unclear"))]
    text = verdict_of(report_of(tmp_path / "run", rows))
    assert "nothing is clearly faster than `sequential` at 4 objects" in text
    assert ("stay with it" in text) == (strategy == "sequential")


@pytest.mark.slow
@pytest.mark.parametrize("differs", [{"iou_min": 0.5}, {"pick_flips": 1}, {"gate_flips": 2}], ids=str)
def test_other_masks_are_never_recommended(tmp_path: Path, differs: dict[str, Any]) -> None:
    odd = row("odd", strategy="propagate", variant="", **speeds(9.0, 8.9, 9.1) | differs)
    text = verdict_of(report_of(tmp_path / "run", [odd, row("one", **speeds(2.0, 1.9, 2.1))]))
    assert "use `direct (shared)`" in text
    assert "propagate" not in text
    alone = verdict_of(report_of(tmp_path / "alone", [odd]))
    assert (
        alone
        == "Nothing can be recommended on a processor: no point had the masks of `sequential` and a speed (1 ok). "
        "The table of agreement tells how far they are apart."
    )


def test_reduced_precision_hides_no_mask_that_differs_in_fp32(tmp_path: Path) -> None:
    same = {"dtype": "bf16", "masks": "same"}
    odd = row("odd", strategy="propagate", variant="", **speeds(9.0, 8.9, 9.1) | same, fp32_masks="differ")
    text = report_of(tmp_path / "run", [odd, row("one", **speeds(2.0, 1.9, 2.1) | same, fp32_masks="same")])
    assert "use `direct (shared)`" in verdict_of(text)
    assert "propagate" not in verdict_of(text)
    assert [one["masks"] for one in table_cells(text)] == ["differ", "same"]


# --- evidence ------------------------------------------------------------------------------------------------------

EARLY = {"converged": False}


def test_where_points_did_not_converge_the_verdict_begins_with_that_and_recommends_nothing(tmp_path: Path) -> None:
    rows = [row("one", **speeds(4.0, 3.9, 4.1) | EARLY), row("two", batch=8, **speeds(2.0, 1.9, 2.1) | EARLY)]
    text = verdict_of(report_of(tmp_path / "run", rows))
    assert text.startswith(
        "2 of 2 points were not measured long enough, so what follows is a first impression and no recommendation: "
        "more time for each (`timing.max_seconds`) or a quieter machine would give one. On a processor, "
        "`direct (shared)` with batch 1 looks fastest: at 4 objects it came out 4.00 times"
    )
    assert "use `direct" not in text


@pytest.mark.parametrize(("hi", "firm"), [(2.1, True), (4.0, False)])
def test_only_points_that_may_be_the_best_have_to_converge(tmp_path: Path, hi: float, firm: bool) -> None:
    rows = [row("one", **speeds(4.0, 3.9, 4.1)), row("two", batch=8, **speeds(2.0, 1.9, hi) | EARLY)]
    text = verdict_of(report_of(tmp_path / "run", rows))
    assert ("use `direct (shared)` with batch 1" in text) == firm
    assert ("1 of 2 points were not measured long enough" in text) == (not firm)


def test_staying_with_the_baseline_is_advice_that_needs_evidence_too(tmp_path: Path) -> None:
    rows = [row("one", strategy="sequential", variant="", **speeds(1.02, 0.97, 1.07, "unclear") | EARLY)]
    text = verdict_of(report_of(tmp_path / "run", rows))
    assert "nothing is clearly faster than `sequential` at 4 objects so far" in text
    assert "stay with it" not in text


def test_each_setting_says_whether_its_best_was_measured_long_enough(tmp_path: Path) -> None:
    rows = [
        row("a", objects=1, **speeds(2.0, 1.9, 2.1) | EARLY),
        row("b", objects=16, **speeds(9.0, 8.9, 9.1)),
    ]
    text = report_of(tmp_path / "run", rows)
    first, second = table_cells(text, "For each setting")
    assert (first["clearly faster"], second["clearly faster"]) == ("at first sight", "yes")
    assert "use `direct (shared)` with batch 1: at 16 objects" in verdict_of(text)


def test_without_a_baseline_the_verdict_says_how_little_is_known(tmp_path: Path) -> None:
    rows = [row("one", fps=12.5), row("two", batch=8, fps=99.0)]
    text = verdict_of(report_of(tmp_path / "run", rows))
    assert (
        "`direct (shared)` with batch 8 did the most at 4 objects, 99.0 targets/s, its masks were not compared" in text
    )
    assert "not timed in turns with a baseline" in text


def test_a_faster_point_without_a_speed_up_may_be_as_fast(tmp_path: Path) -> None:
    rows = [row("one", **speeds(2.0, 1.9, 2.1)), row("two", batch=8, fps=99.0, **AGREED)]
    assert "`direct (shared)` with batch 8 may be as fast" in verdict_of(report_of(tmp_path / "run", rows))


def test_where_nothing_finished_the_verdict_counts_how_it_ended(tmp_path: Path) -> None:
    rows = [ended("one", "oom", "80 GB"), ended("two", "oom", "80 GB", batch=8), ended("three", "skipped", "no GPU")]
    text = verdict_of(report_of(tmp_path / "run", rows))
    assert text.startswith("Nothing can be recommended on a processor: no point ended well (2 oom, 1 skipped).")


def test_settings_are_distinguished_by_what_varies(tmp_path: Path) -> None:
    rows = [
        row(f"{dtype}{refs}", objects=1, refs=refs, dtype=dtype, **speeds(2.0, 1.9, 2.1))
        for dtype in ("bf16", "fp32")
        for refs in (1, 4)
    ]
    cells = table_cells(report_of(tmp_path / "run", rows), "For each setting")
    assert [(one["dtype"], one["refs"]) for one in cells] == [
        *(("bf16", "1"), ("bf16", "4"), ("fp32", "1"), ("fp32", "4")),
    ]
    assert {one["best"] for one in cells} == {"direct (shared)"}
    assert not {"objects", "model"} & set(cells[0]), "all have the same"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({"_target_": "strategies.multi_session.MultiSession", "sessions": 8}, "MultiSession(model, sessions=8)"),
        ({"_target_": "strategies.multi_session.MultiSession", "sessions": 4}, "MultiSession(model)"),
        (
            {"_target_": "strategies.extended_session.ExtendedSession", "slots": 16, "positions": "raw"},
            "ExtendedSession(model, slots=16, positions='raw')",
        ),
        (
            {"_target_": "strategies.direct.Direct", "bank": "shared", "chunk_tokens": 4096, "compile": True},
            "Direct(model, chunk_tokens=4096, compile=True)",
        ),
        ({"_target_": "strategies.rebuild.Rebuild"}, "Rebuild(model)"),
        ({"_target_": "mine.Own", "size": 3, "_convert_": "all"}, "Own(model, size=3)"),
        ({"_target_": "strategies.nowhere.Own", "size": 3}, "Own(model, size=3)"),
        ({"_target_": "strategies..x\0.Own", "size": 3}, "Own(model, size=3)"),
        ({"_target_": "strategies.errors.UserError", "size": 3}, "UserError(model, size=3)"),
    ],
    ids=str,
)
def test_a_program_is_given_every_option_that_is_not_the_default(
    tmp_path: Path, options: dict[str, Any], made: str
) -> None:
    rows = [row("one", **speeds(4.0, 3.9, 4.1))]
    text = verdict_of(report_of(tmp_path / "run", rows, config=CONFIG | {"strategy": options}))
    assert f"In a program of your own that is `{made}`, given 1 target at once." in text


def test_foreign_code_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign_strategy.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    options = CONFIG | {"strategy": {"_target_": "foreign_strategy.Own", "size": 3}}
    text = report_of(tmp_path / "run", [row("one", **speeds(4.0, 3.9, 4.1))], config=options)
    assert "`Own(model, size=3)`" in text

"""Where a baseline was much slower beside one strategy than beside others, the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.result import Block
from report.sections.how_far_to_trust_it import caveats_section
from tests.support.harness_runs import row
from tests.support.report_runs import section_of


def blocks(baseline: float) -> list[Block]:
    """Return rounds in which the baseline had this rate, in targets/s, and the candidate 50."""
    return [
        Block(group="moths", round=at, place=place, side=side, targets=20, seconds=20 / rate, cpu_seconds=0.0)  # type: ignore[arg-type]
        for at in range(3)
        for place, side, rate in ((0, "baseline", baseline), (1, "candidate", 50.0))
    ]


def caveat(folder: Path, baselines: dict[str, float], **columns: list[object]) -> str | None:
    """Return the sentence about a run whose points were timed beside baselines of these rates, or None.

    columns: what differs between the points, in their order.
    """
    rows = [
        row(name, speedup=1.0, speedup_lo=0.9, speedup_hi=1.1, reference="sequential")
        | {column: values[at] for column, values in columns.items()}
        for at, name in enumerate(baselines)
    ]
    samples = {name: blocks(rate) for name, rate in baselines.items()}
    text = section_of(folder, rows, caveats_section, samples=samples)
    return next((line for line in text.splitlines() if "In turns with some points" in line), None)


def test_both_rates_are_given(tmp_path: Path) -> None:
    sentence = caveat(tmp_path, {"a": 240.0, "b": 250.0, "c": 245.0, "busy": 83.0, "d": 180.0})
    assert sentence is not None
    assert "`busy` 83 targets/s instead of 240" in sentence
    assert "its speed-up is too high" in sentence
    assert "`d`" not in sentence, "machines waver by as much"


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("objects", (1, 4)),
        ("batch", (1, 4)),
        ("dtype", ("bf16", "fp32")),
        ("model", ("toy", "edgetam_toy")),
        ("reference", ("sequential", "rebuild")),
        ("options", (None, "baseline.bank=repeat")),
    ],
)
def test_what_differs_in_anything_else_is_another_baseline(
    tmp_path: Path, column: str, values: tuple[object, object]
) -> None:
    rates = {"a": 240.0, "b": 240.0, "c": 240.0, "d": 240.0, "e": 60.0, "f": 60.0}
    of_each = [values[rate < 100] for rate in rates.values()]
    assert caveat(tmp_path, rates, **{column: of_each}) is None
    assert caveat(tmp_path / "alike", rates, **{column: [values[0]] * len(rates)}) is not None


def test_of_few_points_none_is_usual(tmp_path: Path) -> None:
    three = {"a": 240.0, "b": 250.0, "busy": 83.0}
    assert caveat(tmp_path / "three", three) is None
    assert caveat(tmp_path / "four", three | {"c": 245.0}) is not None

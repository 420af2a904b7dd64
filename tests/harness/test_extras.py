"""Extras and the time limit of a sweep, and the experiment that needs both, rehearsed to its end on a CPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import cli
from harness.cli import PENDING
from harness.commands import encoder_stage, kernel_table, kernels
from harness.isolate.extra import ExtraJob, Part, stored_extra
from harness.isolate.failures import Failure
from harness.options.compose import compose
from harness.options.config import ExtrasConfig
from harness.options.devices import device_folder
from harness.options.points import Point
from harness.sweep import OutOfTimeError, TimeLimit
from strategies.errors import UnavailableError
from tests.harness.commands.test_kernels import by_library, torch_rotary
from tests.support.harness_runs import REPORTED, TINY, complaint, point, run_here, strict_json, summary
from tests.support.report_runs import text_of

IDENTITY = {"code": "1", "environment": "2"}


# --- an extra ------------------------------------------------------------------------------------------------------


def measured(folder: Path, parts: Mapping[str, Part], *, seconds: float, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is kept of an extra with those parts."""
    monkeypatch.setattr(kernel_table, "invented", lambda points: parts, raising=False)
    path = folder / "invented.json"
    ExtraJob(
        points=[point()],
        function="harness.commands.kernel_table.invented",
        path=path,
        seconds=seconds,
        identity=IDENTITY,
    ).run(lambda stage: None)
    return strict_json(path)


def test_a_part_that_fails_keeps_its_reason_and_the_others_their_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, Any]:
        raise ZeroDivisionError("the third bolt is loose")

    parts: dict[str, Part] = {"one": lambda: {"figure": 1}, "two": broken, "three": lambda: {"figure": 3}}
    kept = measured(tmp_path, parts, seconds=60, monkeypatch=monkeypatch)
    assert kept["status"] == "ok"
    assert [kept["parts"][name] for name in ("one", "three")] == [{"figure": 1}, {"figure": 3}]
    assert kept["parts"]["two"]["reason"] == "ZeroDivisionError: the third bolt is loose"
    assert kept["left"] == []


def test_when_its_time_is_over_the_parts_that_are_left_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: dict[str, Part] = {"one": lambda: {"figure": 1}, "two": lambda: {"figure": 2}}
    kept = measured(tmp_path, parts, seconds=0, monkeypatch=monkeypatch)
    assert (list(kept["parts"]), kept["left"]) == (["one"], ["two"])


def test_an_extra_that_was_cut_off_is_not_kept_but_its_parts_are_when_it_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> dict[str, Any]:
        raise KeyboardInterrupt

    parts: dict[str, Part] = {"one": lambda: {"figure": 1}, "two": interrupted}
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, parts, seconds=60, monkeypatch=monkeypatch)
    path = tmp_path / "invented.json"
    assert stored_extra(path, IDENTITY) is None
    job = ExtraJob(points=[], function="a.invented", path=path, seconds=1, identity=IDENTITY)
    job.failed(Failure(status="timeout", reason="it took too long"))
    kept = stored_extra(path, IDENTITY)
    assert kept is not None
    assert (kept["status"], kept["reason"], kept["parts"]) == ("timeout", "it took too long", {"one": {"figure": 1}})
    assert stored_extra(path, {**IDENTITY, "code": "other"}) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extras.before=[no.such.function]"], "extras=no.such.function can't be imported"),
        (["extras.after=[harness.plan]"], "would be stored as plan.json"),
        (["extras.before=[a.same,b.same]"], "would be stored as same.json"),
        (["minutes=0"], "minutes=0.0 leaves no time"),
    ],
)
@pytest.mark.slow
def test_bad_options_are_refused_in_a_sentence(words: list[str], message: str, tmp_path: Path) -> None:
    done = run_here(tmp_path, "strategy=direct", *TINY, *words)
    assert done.returncode == 2
    assert message in complaint(done.stderr)


# --- the time limit ------------------------------------------------------------------------------------------------


def test_a_time_limit_ends_by_its_clock() -> None:
    now = 100.0
    limit = TimeLimit(60, clock=lambda: now)
    now = 159.0
    limit.check()
    assert limit.left == 1
    now = 160.0
    with pytest.raises(OutOfTimeError):
        limit.check()


# --- the experiment ------------------------------------------------------------------------------------------------


GRID = (
    *("+experiment=gpu", "sweeps=['strategy=sequential,direct batch=2']", "device=cpu", "dtype=fp32", "refs=1"),
    *REPORTED,
)
"""The experiment with a tiny grid of its own."""


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return compose(list(GRID))


def call(
    points: list[Point], capsys: pytest.CaptureFixture[str], *, extras: ExtrasConfig | None = None, **options: Any
) -> tuple[int, Path, str]:
    """The command with other options, already composed: its exit code, the run's folder, and what it printed."""
    made = [replace(one, config=replace(one.config, **options, extras=extras or one.config.extras)) for one in points]
    code, run = cli.measure(made)
    return code, run.path, "".join(capsys.readouterr())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The encoder's stage in few samples of one call each, as those of kernels are, without a compiler."""
    monkeypatch.setattr("harness.measure.samples.SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(encoder_stage, "BATCHES", (2,))
    monkeypatch.setattr(encoder_stage, "ROUNDS", 2)
    monkeypatch.setattr("strategies.components.encoder.compiled", lambda function, **_: function)
    return monkeypatch


def state(folder: Path) -> tuple[list[str], list[str]]:
    """The strategies that have a result, and the extras that are kept."""
    kept = [name for name in ("kernels", "encoder") if (folder / f"{name}.json").exists()]
    rows = (folder / "summary.csv").exists() and summary(folder)
    return [row["strategy"] for row in rows or []], kept


class OneThing(TimeLimit):
    """Time for one thing to begin, however long that takes."""

    begun = False

    @property
    def left(self) -> float:
        return 0

    def check(self) -> None:
        if self.begun:
            raise OutOfTimeError
        self.begun = True


@pytest.mark.slow
def test_the_experiment_for_gpus_goes_through_call_by_call_without_one(
    points: list[Point], small: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call has time for one thing, and the last has nothing left to do."""
    small.chdir(tmp_path)
    small.setattr(kernels, "kernel_device", no_gpu)
    small.setattr(cli, "TimeLimit", lambda seconds: OneThing())
    calls = []
    for number in range(5):
        reporter = "report.write_report" if number == 3 else None
        code, folder, said = call(points, capsys, resume=number > 0, reporter=reporter)
        assert folder.parent == Path("results", "gpu", device_folder("cpu"))
        assert ("resume=true goes on" in said) == (code == PENDING)
        calls.append((code, *state(folder)))
        if number == 1:
            early = text_of(folder)
        if number == 3:
            encoder = (folder / "encoder.json").read_bytes()
    assert calls == [
        (PENDING, [], ["kernels"]),
        (PENDING, ["sequential"], ["kernels"]),
        (PENDING, ["sequential", "direct"], ["kernels"]),
        *2 * [(0, ["sequential", "direct"], ["kernels", "encoder"])],
    ]
    assert (folder / "encoder.json").read_bytes() == encoder
    assert "1 of 2 points have no result yet" in early
    report = (folder / "report.md").read_text()
    assert "## What is pending" not in report
    assert "**skipped**: there is no GPU in this test" in report
    for how in ("eager", "compiled", "channels last", "compiled, channels last"):
        assert len(re.findall(rf"^\| toy \| fp32 \| {how} \| 2 \| [\d.]+ \|", report, re.M)) == 1
    for part in strict_json(folder / "encoder.json")["parts"].values():
        assert len(part["seconds"]) == 2
        assert part["difference"] < 1e-4
        assert part["flops_per_frame"] > 0
        assert part["checked"]["fault"] is None
    for title in ("Kernels", "The encoder"):
        assert f"## {title}\n" in report
        assert f">{title}</h2>" in (folder / "report.html").read_text()
    assert "extras.before=[]" in summary(folder)[0]["command"]


def no_gpu() -> torch.device:
    raise UnavailableError("there is no GPU in this test")


@pytest.mark.slow
def test_where_kernels_run_their_table_is_in_the_report(
    points: list[Point], small: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small.setattr(kernels, "kernel_device", lambda: torch.device("cpu"))
    small.setattr(kernels, "fused", by_library)
    small.setattr(kernels, "our_rotary", torch_rotary)
    small.setattr(kernel_table, "TARGETS", (2,))
    small.setattr(kernel_table, "FRAMES", (1, 2))
    small.setattr(kernel_table, "ROUNDS", 2)
    small.chdir(tmp_path)
    extras = replace(points[0].config.extras, after=[])
    code, folder, said = call(points[:1], capsys, extras=extras, reporter=None)
    assert code == 0
    assert "kernels: measured" in said
    report = text_of(folder)
    rows = re.findall(r"^\| 2 \| ([14]) \| ([12]) \| ([\d.]+) \|.* ([\d.]+)x \| \w+, ", report, re.M)
    assert [row[:2] for row in rows] == [("1", "1"), ("1", "2"), ("4", "1"), ("4", "2")]


@pytest.mark.slow
def test_what_failed_is_tried_again_after_what_was_never_tried(
    points: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a run with failures gets to its end, however little time a call has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "TimeLimit", lambda seconds: OneThing())
    too_large = [replace(points[0], config=replace(points[0].config, batch=8)), points[1]]  # There are 3 targets.
    quick: dict[str, Any] = {"extras": ExtrasConfig(), "reporter": None, "compare": False, "paired": False}
    assert call(too_large, capsys, **quick)[0] == PENDING
    code, folder, _ = call(too_large, capsys, resume=True, **quick)
    assert code == 0
    assert [row["status"] for row in summary(folder)] == ["skipped", "ok"]

"""The options of ``scenario=stream``: which strategies it takes, what they are timed against, what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.options.compose import compose
from harness.store.point_key import key_of
from strategies.errors import UserError
from tests.support.harness_runs import TINY, only_run, run_here, summary

STREAM = ("scenario=stream", "data=drifting")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("strategy=direct",), "strategy=direct is no strategy for streams.*choose one of stream_batched, stream_sess"),
        (
            ("strategy=stream_batched", "strategy@baseline=sequential"),
            "strategy@baseline=sequential is no strategy for",
        ),
        (("strategy=stream_batched", "batch=16"), "batch=16 means nothing with scenario=stream: videos="),
        (("strategy=stream_batched", "videos=0"), "videos=0 is too small"),
        (("strategy=stream_batched", "camera_fps=0"), "camera_fps=0.0 is no rate of a camera"),
        (("strategy=stream_batched", "camera_fps=inf"), "camera_fps=inf is no rate of a camera"),
        (("strategy=stream_batched", "stride=often"), "stride=often is not valid"),
        (("strategy=stream_batched", "data.parts=255"), "data.parts=255 is too large"),
        (("strategy=stream_batched", "data.parts=254"), "data.strangers=255 is too large"),
        (("strategy=stream_batched", "data.frames=1"), "data.frames=1 is too small"),
        (("strategy=stream_batched", "data.vary=1"), "data.vary=1.0 is a share"),
    ],
)
def test_what_no_stream_can_be_is_refused_in_one_sentence(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        compose([*STREAM, *words])
    assert "\n" not in str(refused.value)


def test_a_strategy_for_streams_is_none_for_targets_in_any_order() -> None:
    with pytest.raises(UserError, match=r"strategy=stream_batched follows streams.*add scenario=stream"):
        compose(["strategy=stream_batched"])


@pytest.mark.slow
def test_a_sweep_over_all_strategies_is_over_those_of_the_scenario() -> None:
    followed = {point.strategy for point in compose(list(STREAM))}
    assert followed == {"stream_batched", "stream_session"}
    assert {"direct", "sequential"} <= (others := {point.strategy for point in compose([])})
    assert not followed & others


def test_streams_are_timed_against_the_session_and_their_commands_say_no_more_than_was_typed() -> None:
    (point,) = compose([*STREAM, "strategy=stream_batched", "videos=2", "memory_frames=4"])
    assert (point.baseline, point.variant) == ("stream_session", "memory_frames=4")
    assert point.config.strategy["videos"] == point.config.baseline["videos"] == 2
    assert not any("baseline" in word for word in [*point.words, *shlex.split(point.command)])
    program, _, module, *words = shlex.split(point.command)
    assert (program, module) == ("python", "harness")
    assert [again.digest for again in compose(words)] == [point.digest]


@pytest.mark.parametrize("word", ["++scenario=stream", "scenario='stream'"])
def test_the_scenario_has_its_baseline_however_it_is_written(word: str) -> None:
    (point,) = compose([word, "data=drifting", "strategy=stream_batched"])
    assert point.baseline == "stream_session"


def test_the_number_of_videos_is_a_part_of_a_points_name_and_key() -> None:
    one, two = compose([*STREAM, "strategy=stream_batched", "videos=1,2"])
    assert one.workload == two.workload
    assert (key_of(one) != key_of(two), one.name != two.name) == (True, True)
    assert "videos=2" in key_of(two)
    assert "-v2-" in two.name


def test_clips_have_other_targets_in_a_stream() -> None:
    davis = ("data=davis", "data.root=somewhere", "strategy=stream_batched")
    (streamed,) = compose(["scenario=stream", *davis])
    (predicted,) = compose(["strategy=direct", *davis[:2]])
    assert streamed.workload != predicted.workload


@pytest.mark.slow
def test_more_videos_than_there_are_is_a_point_that_is_skipped(tmp_path: Path) -> None:
    asked = ("strategy=stream_batched", "videos=3", "data.groups=1", "targets=null", "objects=null", "data.late=0")
    run_here(tmp_path, *STREAM, *(word for word in TINY if not word.startswith(("targets", "objects"))), *asked)
    (row,) = summary(only_run(tmp_path / "results"))
    assert row["status"] == "skipped"
    assert row["reason"].startswith("videos=3 is more than the data has, which is 1")


@pytest.mark.slow
def test_frames_without_an_order_are_refused(tmp_path: Path) -> None:
    done = run_here(tmp_path, "scenario=stream", "data=synthetic", "strategy=stream_batched", *TINY)
    assert done.returncode == 2
    assert "have no order" in done.stderr

"""Bad input to streams is one sentence that names the video."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from strategies import Sam2, UserError
from strategies.streams.base import StreamStrategy
from strategies.streams.batched import StreamBatched
from strategies.streams.session import StreamSession
from strategies.streams.vocabulary import Labels, StreamFrame, StreamReferences
from tests.support.models import Pictures
from tests.support.pictures import assert_one_sentence
from tests.support.streams import Clip, play

both = pytest.mark.parametrize("strategy", [StreamSession, StreamBatched])
CLIP = Clip(name="clip", frames=9, labels=((0, (1,)),))


def label(frame: int, *ids: int, masks: int | None = None, side: int = 128) -> Labels:
    return Labels(frame=frame, masks=torch.ones(masks or len(ids), side, side, dtype=torch.bool), object_ids=ids)


def video(*labels: Labels, length: int | None = None, first: int = 0) -> StreamReferences:
    return StreamReferences(video="clip", labels=labels, length=length, first_frame=first)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: label(4, 1, 2, masks=1), ("frame 4", "1 masks for 2")),
        (lambda: label(4), ("frame 4", "0 masks for 0")),
        (lambda: label(4, 1, 1), ("frame 4", "(1, 1)")),
        (lambda: label(4, 0), ("frame 4", "(0,)")),
        (lambda: video(), ("clip", "no labelled frame")),
        (lambda: video(label(3, 1), label(2, 1)), ("clip", "[3, 2]")),
        (lambda: video(label(3, 1), first=4), ("clip", "frame 3", "frame 4")),
        (lambda: video(label(0, 1), first=-3), ("clip", "frame -3", "from 0 on")),
        (lambda: video(label(9, 1), length=9), ("clip", "frame 9", "frame 8")),
        (lambda: video(label(0, 1), length=1), ("clip", "1 frame", "at least two")),
    ],
)
def test_labels_that_make_no_video(make: Callable[[], object], named: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as raised:
        make()
    assert_one_sentence(raised.value, *named)


Act = Callable[[StreamStrategy, Callable[[int], StreamFrame]], object]
ACTS: dict[str, tuple[Act, tuple[str, ...]]] = {
    "a frame left out": (lambda stream, frame: stream.step({"clip": frame(4)}), ("clip", "frame 4", "frame 3")),
    "a frame twice": (lambda stream, frame: stream.step({"clip": frame(2)}), ("clip", "frame 2", "frame 3")),
    "a video left out": (lambda stream, frame: stream.step({}), ("clip", "every video")),
    "a video unknown": (
        lambda stream, frame: stream.step({"clip": frame(3), "other": frame(3)}),
        ("other", "not under way"),
    ),
    "an end of what has not begun": (lambda stream, frame: stream.finish("other"), ("other", "not under way")),
    "a label too late": (
        lambda stream, frame: stream.prepare([video(label(2, 1))]),
        ("clip", "frame 2", "will not come"),
    ),
    "a label after the end": (
        lambda stream, frame: stream.prepare([video(label(9, 1))]),
        ("clip", "frame 9", "last 8"),
    ),
    "no slot": (
        lambda stream, frame: stream.prepare([StreamReferences(video="other", labels=(label(0, 1),))]),
        ("other", "videos=1"),
    ),
    "masks of another size": (
        lambda stream, frame: stream.prepare([video(label(5, 1, side=64))]),
        ("clip", "frame 5", "64 x 64", "128 x 128"),
    ),
    "two frames as one": (
        lambda stream, frame: stream.step(
            {"clip": StreamFrame(number=3, features=type(frame(3).features).concatenate([frame(3).features] * 2))}
        ),
        ("clip", "frame 3", "one picture"),
    ),
}


@both
@pytest.mark.parametrize(("act", "named"), ACTS.values(), ids=list(ACTS))
def test_steps_and_labels_that_do_not_fit(
    model: Sam2, pictures: Pictures, strategy: type[StreamStrategy], act: Act, named: tuple[str, ...]
) -> None:
    """They change nothing: the stream goes on."""
    with strategy(model, videos=1) as stream:
        stream.prepare([CLIP.references(model.side)])
        for number in range(3):
            stream.step({"clip": CLIP.frame(number, pictures)})
        with pytest.raises(UserError) as raised:
            act(stream, lambda number: CLIP.frame(number, pictures))
        assert_one_sentence(raised.value, *named)
        assert stream.step({"clip": CLIP.frame(3, pictures)})["clip"].object_ids == (1,)


@both
def test_a_frame_after_the_end_and_a_label_that_was_never_reached(
    model: Sam2, pictures: Pictures, strategy: type[StreamStrategy]
) -> None:
    with strategy(model) as stream:
        stream.prepare([video(label(0, 1), label(2, 1), length=3)])
        stream.step({"clip": CLIP.frame(0, pictures)})
        with pytest.raises(UserError, match="label of frame 2") as raised:
            stream.finish("clip")
        assert_one_sentence(raised.value, "clip", "frame 1")
        assert stream.under_way == ()
        stream.prepare([video(label(0, 1), length=2)])
        for number in range(2):
            stream.step({"clip": CLIP.frame(number, pictures)})
        with pytest.raises(UserError) as raised:
            stream.step({"clip": CLIP.frame(2, pictures)})
        assert_one_sentence(raised.value, "clip", "frame 2", "frame 1 is the last")


@pytest.mark.parametrize("option", ["videos", "objects", "memory_frames", "stride", "conditioning"])
def test_options_below_one(model: Sam2, option: str) -> None:
    options: dict[str, int] = {option: 0}
    with pytest.raises(UserError, match=f"{option}=0 must be at least 1"):
        StreamBatched(model, **options)


def test_a_step_before_any_video(model: Sam2) -> None:
    with pytest.raises(RuntimeError, match="prepare"):
        StreamSession(model).step({})


@both
def test_a_released_strategy_begins_anew(model: Sam2, pictures: Pictures, strategy: type[StreamStrategy]) -> None:
    stream = strategy(model)
    for _ in range(2):
        with stream:
            assert [number for number, _ in enumerate(play([stream], [Clip(name="a", frames=3)], pictures))] == [
                0,
                1,
                2,
            ]
        assert stream.under_way == ()
        assert stream.state_bytes == 0

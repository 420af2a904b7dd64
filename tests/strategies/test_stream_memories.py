"""What streams keep: as much after many frames as after few, and only so many labels of an object."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strategies import Sam2
from strategies.streams.base import StreamStrategy
from strategies.streams.batched import LABELLED_FRAMES, StreamBatched
from strategies.streams.schedule import EMPTY, UNSEEN, Schedule
from strategies.streams.session import StreamSession
from tests.support.models import Pictures, copied, every_family
from tests.support.streams import Clip, drift, play, played, seen_often

FULL = 16
"""After so many frames all rings are full."""
both = pytest.mark.parametrize("strategy", [StreamSession, StreamBatched])


def kept_bytes(strategy: StreamStrategy, clip: Clip, pictures: Pictures, *, after: tuple[int, ...]) -> list[int]:
    with strategy:
        return [
            strategy.state_bytes
            for frames, _ in play([strategy], [clip], pictures)
            if frames[clip.name].number + 1 in after
        ]


@pytest.mark.slow
@every_family
@both
def test_a_long_stream_keeps_no_more_than_a_short_one(
    model: Sam2, pictures: Pictures, strategy: type[StreamStrategy]
) -> None:
    clip = Clip(name="a", frames=6 * FULL, labels=((0, (1,)),))
    short, long = kept_bytes(strategy(model), clip, pictures, after=(FULL + 1, 6 * FULL))
    assert short == long


@both
def test_videos_that_have_ended_leave_no_more_than_their_slots(
    model: Sam2, pictures: Pictures, strategy: type[StreamStrategy]
) -> None:
    clips = [Clip(name=str(number), frames=3, labels=((0, (1,)),), seed=number) for number in range(5)]
    with strategy(model, videos=1) as stream:
        kept = [stream.state_bytes for _ in play([stream], clips, pictures, at_once=1)]
    assert max(kept) == max(kept[:3])


@pytest.mark.slow
def test_the_last_15_labelled_frames_of_an_object_are_all_there_is_before_the_16th(
    model: Sam2, pictures: Pictures
) -> None:
    """The session keeps all, so that it grows with every label; masks differ after the 16th label, and never before."""
    clip = Clip(name="a", frames=34, labels=tuple((at, (1,)) for at in range(0, 34, 2)), seed=9)
    kept, every = (
        played(StreamBatched(model, conditioning=most), [clip], pictures) for most in (LABELLED_FRAMES, None)
    )
    expected = played(StreamSession(model), [clip], pictures)
    sixteenth = 2 * LABELLED_FRAMES
    for key, one in kept.items():
        assert torch.equal(one.logits, every[key].logits) == (key[1] < sixteenth)
    assert drift(every, expected).same


@pytest.mark.slow
def test_labels_beyond_those_that_are_kept_take_no_memory(model: Sam2, pictures: Pictures) -> None:
    clip = Clip(name="a", frames=12, labels=tuple((at, (1,)) for at in range(0, 12, 2)))
    two = kept_bytes(StreamBatched(model, conditioning=2), clip, pictures, after=(4, 11))
    every = kept_bytes(StreamBatched(model, conditioning=None), clip, pictures, after=(4, 11))
    assert two[0] == two[1] < every[1]


# --- other memories than the network's own -------------------------------------------------------------------------


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("memory_frames", [1, 2, 4])
def test_fewer_memories_are_those_of_a_network_that_has_fewer(
    model: Sam2, pictures: Pictures, memory_frames: int
) -> None:
    """The network's own way to have fewer, which keeps the table of its temporal positions."""
    clip = seen_often(model, pictures, Clip(name="a", frames=10, labels=((0, (1,)), (4, (1, 2)))))
    fewer = copied(model)
    fewer.network.num_maskmem = memory_frames
    strategy = StreamBatched(model, memory_frames=memory_frames)
    assert not strategy.exact
    expected, found = (played(each, [clip], pictures) for each in (StreamSession(fewer), strategy))
    assert drift(found, expected).same
    own = played(StreamBatched(model), [clip], pictures)
    assert drift(found, own).different


def frames_seen(schedule: Schedule, *, now: int) -> dict[int, int]:
    """The frames that are seen by frame ``now`` of a stream without labels, by their temporal offset."""
    kept = np.full((1, schedule.places), EMPTY)
    for frame in range(now):
        for _, places in schedule.places_of(np.array([frame])):
            kept[0, places] = frame
    offsets = schedule.offsets(np.array([now]), kept)[0]
    seen = offsets != UNSEEN
    assert len(set(offsets[seen])) == seen.sum(), "two memories at one offset"
    return dict(sorted(zip(offsets[seen].tolist(), kept[0][seen].tolist(), strict=True)))


def original(now: int, *, memory_frames: int, stride: int) -> dict[int, int]:
    """The rule of the original's ``memory_temporal_stride_for_eval``, as it is written there."""
    seen = {}
    for t_pos in range(1, memory_frames):
        t_rel = memory_frames - t_pos
        frame = now - t_rel if t_rel == 1 else ((now - 2) // stride) * stride - (t_rel - 2) * stride
        if frame >= 0:
            seen[t_rel] = frame
    return dict(sorted(seen.items()))


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("memory_frames", [1, 2, 4, 7, 12])
def test_memories_lie_a_stride_apart_as_in_the_original(memory_frames: int, stride: int) -> None:
    schedule = Schedule(memories=memory_frames - 1, stride=stride, conditioning=None, pointers=15)
    for now in range(1, 60):
        assert frames_seen(schedule, now=now) == original(now, memory_frames=memory_frames, stride=stride)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "first"), [({"memory_frames": 12}, 8), ({"stride": 2}, 3)])
def test_more_memories_and_other_strides_change_masks_once_there_are_so_many_frames(
    model: Sam2, pictures: Pictures, options: dict[str, int], first: int
) -> None:
    """first: the first frame that sees others than the network's own."""
    clip = seen_often(model, pictures, Clip(name="a", frames=14))
    strategy = StreamBatched(model, **options)
    assert not strategy.exact
    found, own = (played(each, [clip], pictures) for each in (strategy, StreamBatched(model)))
    before, after = ([key for key in own if (key[1] < first) == early] for early in (True, False))
    near, far = (drift({key: found[key] for key in keys}, {key: own[key] for key in keys}) for keys in (before, after))
    assert near.same
    assert far.different

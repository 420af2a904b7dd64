"""Videos for tests of streams, and ways to play them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from strategies import Predictions, Sam2, VisionFeatures
from strategies.streams.base import StreamStrategy
from strategies.streams.batched import StreamBatched
from strategies.streams.session import StreamSession
from strategies.streams.vocabulary import Labels, StreamFrame, StreamReferences
from tests.support.models import Pictures, ellipses, pick

NOISE = 2.0**-20
"""The share by which features are off where a test asks what rounding does, sixteen roundoffs of fp32: stored memory is
rounded to bf16, so that ties are what matters (`harness.masks.noise`)."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video: how many frames it has, and which objects each labelled frame labels.

    seed: of its pictures, which come from those of `Pictures` in an order of its own, and of the masks. absent: the
    (frame, object) labels that are empty masks.
    """

    name: str
    frames: int
    labels: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (1, 2)),)
    seed: int = 0
    absent: tuple[tuple[int, int], ...] = ()

    def references(self, side: int, *, only: int | None = None) -> StreamReferences:
        """The labels, or those of one object only."""
        labels = []
        for number, (frame, ids) in enumerate(self.labels):
            chosen = [at for at, each in enumerate(ids) if only in (None, each)]
            masks = ellipses(100 * self.seed + number, frames=1, objects=len(ids), side=side)[0]
            for at, each in enumerate(ids):
                masks[at] &= (frame, each) not in self.absent
            if chosen:
                labels.append(Labels(frame=frame, masks=masks[chosen], object_ids=tuple(ids[at] for at in chosen)))
        return StreamReferences(video=self.name, labels=tuple(labels), length=self.frames)

    def frame(self, number: int, pictures: Pictures) -> StreamFrame:
        return StreamFrame(number=number, features=pick(pictures.references, [self.picture(number)]))

    def picture(self, number: int) -> int:
        return (self.seed + (3 + self.seed % 5) * number) % 17

    @property
    def objects(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(each for _, ids in self.labels for each in ids))


MARGIN = 3
"""How much farther than the farthest of three draws of noise an exact strategy may be."""
SAME, DIFFERENT = 0.01, 0.02
"""How far trajectories may be apart that rounding parts, and how far others are at least."""
Played = dict[tuple[str, int], Predictions]
"""Predictions by video and frame."""


def play(
    strategies: Sequence[StreamStrategy],
    clips: Sequence[Clip],
    pictures: Pictures,
    *,
    at_once: int | None = None,
    only: int | None = None,
    before: Callable[[str], None] | None = None,
) -> Iterator[tuple[dict[str, StreamFrame], list[dict[str, Predictions]]]]:
    """Play videos, so many at once, to all strategies side by side, and yield each step.

    Where one ends, the next begins. before: what happens to each video before each step.
    """
    waiting, running = list(clips), dict[str, Clip]()
    while waiting or running:
        while waiting and (at_once is None or len(running) < at_once):
            clip = waiting.pop(0)
            running[clip.name] = clip
            for strategy in strategies:
                strategy.prepare([clip.references(strategy.model.side, only=only)])
        frames = {name: clip.frame(strategies[0].next_frame(name), pictures) for name, clip in running.items()}
        for name in frames if before else ():
            before(name)
        yield frames, [strategy.step(frames) for strategy in strategies]
        for name, frame in frames.items():
            if frame.number + 1 == running[name].frames:
                del running[name]
                for strategy in strategies:
                    strategy.finish(name)


def played(
    strategy: StreamStrategy,
    clips: Sequence[Clip],
    pictures: Pictures,
    *,
    at_once: int | None = None,
    only: int | None = None,
) -> Played:
    """Predictions of videos that are played to their ends; frames without any are left out."""
    with strategy:
        return {
            (video, frames[video].number): found
            for frames, (predictions,) in play([strategy], clips, pictures, at_once=at_once, only=only)
            for video, found in predictions.items()
            if found.object_ids
        }


@functools.cache
def alone(model: Sam2, clip: Clip, pictures: Pictures, noise: int | None = None) -> Played:
    """What a session for each object predicts, joined: the semantics of streams.

    noise: a seed, where the features shall be off by rounding.
    """
    seen = pictures if noise is None else noisy(pictures, noise)
    of_objects = {each: played(StreamSession(model), [clip], seen, only=each) for each in clip.objects}
    joined: Played = {}
    for number in range(clip.frames):
        there = {each: of[clip.name, number] for each, of in of_objects.items() if (clip.name, number) in of}
        if there:
            parts = list(there.values())
            joined[clip.name, number] = Predictions(
                logits=torch.cat([part.logits for part in parts], dim=1),
                object_scores=torch.cat([part.object_scores for part in parts], dim=1),
                ious=torch.cat([part.ious for part in parts], dim=1),
                object_ids=tuple(there),
            )
    return joined


@functools.cache
def seen_often(model: Sam2, pictures: Pictures, clip: Clip) -> Clip:
    """The clip with the first seed with which most gates are open, so that there is something to compare."""
    for seed in range(50):
        found = played(StreamBatched(model), [replace(clip, seed=seed)], pictures)
        if torch.cat([one.object_scores.flatten() > 0 for one in found.values()]).float().mean() > 0.6:
            return replace(clip, seed=seed)
    raise AssertionError("no seed shows the objects")


def noisy(pictures: Pictures, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(seed)

    def off(level: torch.Tensor) -> torch.Tensor:
        return level * (1 + NOISE * torch.randn(level.shape, generator=generator))

    features = pictures.references
    return replace(
        pictures,
        references=VisionFeatures(
            embedding=off(features.embedding), stride4=off(features.stride4), stride8=off(features.stride8)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far two trajectories are apart, over all (frame, object) pairs.

    median, worst: of the largest difference of a pair's logits, relative to the largest of all logits. flips: pairs
    whose gates differ.
    """

    median: float
    worst: float
    flips: int

    @property
    def same(self) -> bool:
        return self.worst < SAME and self.flips == 0

    @property
    def different(self) -> bool:
        return self.worst > DIFFERENT or self.flips > 0


def drift(actual: Played, expected: Played) -> Drift:
    assert actual.keys() == expected.keys()
    errors, flips, scale = [], 0, 0.0
    for key, one in actual.items():
        other = expected[key]
        assert one.object_ids == other.object_ids
        opened = (one.object_scores > 0, other.object_scores > 0)
        flips += int((opened[0] != opened[1]).sum())
        both = opened[0] & opened[1]
        errors.append((one.logits - other.logits).abs().amax(dim=(2, 3))[both])
        if both.any():
            scale = max(scale, float(other.logits[both].abs().max()))
    of_pairs = torch.cat(errors) / scale if scale else torch.full((flips,), float("inf"))
    assert len(of_pairs) > 0, "no object is seen, so nothing is compared"
    return Drift(median=float(of_pairs.median()), worst=float(of_pairs.max()), flips=flips)


def expected_of(model: Sam2, clips: tuple[Clip, ...], pictures: Pictures, noise: int | None = None) -> Played:
    return {key: found for clip in clips for key, found in alone(model, clip, pictures, noise).items()}


def assert_as_near_as_noise(found: Played, model: Sam2, clips: tuple[Clip, ...], pictures: Pictures) -> None:
    """No farther from the oracle than the oracle is from itself with inputs off by rounding, in some draws.

    A further draw can only widen the floor, so that none is needed where the first ones are enough.
    """
    expected = expected_of(model, clips, pictures)
    ours, floors = drift(found, expected), list[Drift]()
    for seed in range(3):
        floors.append(drift(expected_of(model, clips, pictures, seed), expected))
        if _near(ours, floors):
            return
    raise AssertionError(f"{ours} is farther than {floors}")


def _near(ours: Drift, floors: Sequence[Drift]) -> bool:
    return (
        ours.median <= MARGIN * max(floor.median for floor in floors)
        and ours.worst <= MARGIN * max(floor.worst for floor in floors)
        and ours.flips <= 1 + max(floor.flips for floor in floors)
    )

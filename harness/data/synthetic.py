"""Seeded groups of drawn specimens: parts keep colour, texture and shape while everything around them changes.

A group is one species: its parts are drawn from the group's seed. Each frame shows one specimen of it, with its own
pose, scale, lighting, background and distractors; some parts are absent. Frame f of a group is the same picture
whatever else is asked for, so a run with more targets sees the targets of the smaller run again.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np

from harness.data.drawing import Part, Pose, background, check_amount, draw_part, draw_species, light, paint
from harness.data.group import Frame, Group

REFERENCE_STREAM, TARGET_STREAM = 0, 1


def synthetic_groups(
    *,
    count: int,
    references: int,
    targets: int,
    objects: int,
    size: tuple[int, int],
    seed: int,
    absent: float = 0.1,
) -> list[Group]:
    """Return ``count`` groups with ``objects`` parts each.

    size: (height, width) of every picture. absent: the probability that a part is missing from a frame. Raises
    UserError for more frames than a sweep could ever encode, whose list alone would take minutes.
    """
    for option, asked in (("data.groups", count), ("refs", references * count), ("targets", targets * count)):
        check_amount(option, asked)
    return [
        _group(index, references=references, targets=targets, objects=objects, size=size, seed=seed, absent=absent)
        for index in range(count)
    ]


def _group(
    index: int, *, references: int, targets: int, objects: int, size: tuple[int, int], seed: int, absent: float
) -> Group:
    species = draw_species(np.random.default_rng((seed, index)), objects)

    def frame(stream: int, number: int, prefix: str) -> Frame:
        # No part is absent from the first reference, so that every object is known (among dozens of parts, one may
        # still be covered by its neighbours).
        chance = 0.0 if (stream, number) == (REFERENCE_STREAM, 0) else absent
        render = partial(render_specimen, species, size=size, absent=chance, seed=(seed, index, stream, number))
        return Frame(name=f"{prefix}{number:05d}", image=lambda: render()[0], labels=lambda: render()[1])

    return Group(
        name=f"specimen{index:03d}",
        object_ids=tuple(range(1, objects + 1)),
        references=tuple(frame(REFERENCE_STREAM, number, "ref") for number in range(references)),
        targets=tuple(frame(TARGET_STREAM, number, "target") for number in range(targets)),
    )


@lru_cache(maxsize=8)  # A frame's image and labels are asked for one after the other.
def render_specimen(
    species: tuple[Part, ...], *, size: tuple[int, int], absent: float, seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture uint8 ``[height, width, 3]`` and its ids ``[height, width]``; part k of the species has id k+1."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = background(rng, size)
    labels = np.zeros(size, dtype=np.uint8)
    for _ in range(rng.integers(2, 6)):
        part = draw_part(rng, centre=(0.0, 0.0), radius=rng.uniform(0.05, 0.16), hue=rng.uniform())
        place = (rng.uniform(-0.55, 0.55) * width / min(size), rng.uniform(-0.55, 0.55) * height / min(size))
        paint(image, part, Pose(centre=place, angle=rng.uniform(0, 2 * math.pi), scale=1.0), labels, object_id=0)
    scale = rng.uniform(0.75, 1.15)
    pose = Pose(
        centre=(rng.uniform(-0.12, 0.12) * width / min(size), rng.uniform(-0.12, 0.12) * height / min(size)),
        angle=rng.uniform(-math.pi / 3, math.pi / 3),
        scale=scale,
    )
    present = rng.uniform(size=len(species)) >= absent
    wobble = rng.normal(scale=(0.015, 0.015, 0.15), size=(len(species), 3))
    for number in rng.permutation(len(species)):
        if present[number]:
            part_pose = _part_pose(pose, species[number], wobble[number])
            paint(image, species[number], part_pose, labels, object_id=int(number) + 1)
    return light(rng, image), labels


def _part_pose(pose: Pose, part: Part, wobble: np.ndarray) -> Pose:
    cos, sin = math.cos(pose.angle) * pose.scale, math.sin(pose.angle) * pose.scale
    x, y = part.centre[0] + wobble[0], part.centre[1] + wobble[1]
    return Pose(
        centre=(pose.centre[0] + cos * x - sin * y, pose.centre[1] + sin * x + cos * y),
        angle=pose.angle + wobble[2],
        scale=pose.scale,
    )

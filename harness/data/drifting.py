"""Seeded videos of drawn specimens that drift, turn, hide, leave the picture and come back, with truth for every frame.

Each video has a background, a light and specimens of its own. All paths are functions of the frame's number, so frame
f of a video is the same picture however long the video is. What happens in it, by frame numbers:

- the first specimen leaves the picture once in every `CYCLE` frames, and comes back;
- a bar passes over the picture once in every `CYCLE` frames;
- specimens pass over each other, always the same ones over the same others;
- late ones come into the picture one after another, `APPEARS` frames apart, each with a reference of its own, which
  labels nothing else;
- strangers drift along and are never labelled: their ids, which follow the others', are in the truth alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from harness.data.drawing import Part, Pose, background, check_amount, draw_species, light, paint
from harness.data.group import Frame, Group
from strategies.errors import UserError

CYCLE = 40
"""Frames after which the events of a video come again."""
LEAVES, AWAY = 10, 10
"""The first specimen is out of its path from this frame of a cycle on, for so many frames."""
BAR_ENTERS, BAR_PASSES, BAR_WIDTH = 22, 14, 0.1
"""The bar enters at this frame of a cycle, and passes in so many; its width is a share of the picture's."""
APPEARS, ENTERS = 8, 4
"""Late specimens appear so many frames apart, and take so many to come in."""
OUTSIDE = 1.2
"""The distance from its path at which a specimen is out of the picture, in units of the picture's shorter side."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """How a specimen moves, by frame numbers; lengths are in units of the picture's shorter side.

    swing, pace, phase: of its drift, by axis. spin: radians for each frame. outward: the direction in which it leaves.
    appears: the first frame that shows all of it.
    """

    swing: tuple[float, float]
    pace: tuple[float, float]
    phase: tuple[float, float]
    spin: float
    outward: float
    appears: int
    leaves: bool

    def pose(self, part: Part, number: int, *, stretch: tuple[float, float]) -> Pose:
        """Return the specimen's pose. stretch: the picture's width and height over its shorter side."""
        drift = [
            swing * (math.sin(pace * number + phase) - math.sin(phase))
            for swing, pace, phase in zip(self.swing, self.pace, self.phase, strict=True)
        ]
        away = OUTSIDE * self._away(number)
        direction = (math.cos(self.outward), math.sin(self.outward))
        x, y = (
            (at + by + away * out) * by_side
            for at, by, out, by_side in zip(part.centre, drift, direction, stretch, strict=True)
        )
        return Pose(centre=(x, y), angle=self.spin * number, scale=1 + 0.1 * math.sin(self.pace[0] * number))

    def _away(self, number: int) -> float:
        """Return how far out of the picture it is, from 0 to 1."""
        if number < self.appears:
            return min(1.0, (self.appears - number) / ENTERS)
        since = number % CYCLE - LEAVES
        return math.sin(math.pi * since / AWAY) if self.leaves and 0 < since < AWAY else 0.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One video: specimen k has id k + 1, and the late ones and strangers are its last, in this order."""

    species: tuple[Part, ...]
    paths: tuple[Path, ...]
    order: tuple[int, ...]
    size: tuple[int, int]
    seed: tuple[int, int]


def drifting_groups(
    *,
    count: int,
    frames: int,
    references: int,
    targets: int | None,
    objects: int,
    late: int,
    strangers: int,
    vary: float,
    size: tuple[int, int],
    seed: int,
) -> list[Group]:
    """Return ``count`` videos with ``objects`` labelled specimens each, of which the ``late`` last appear later.

    frames: of the longest video, which is the first. vary: the others are shorter by up to this share of it.
    references: the first so many frames label the specimens that are there from the beginning. targets: a video ends
    after so many frames without labels; None for no such end. Raises UserError where a video would have no target, or
    would end before its late specimens appear.
    """
    check_amount("data.frames", frames * count)
    if late >= objects:
        raise UserError(f"data.late={late} leaves no specimen to begin with: give less than data.parts={objects}")
    shortest = frames - int(vary * frames)
    needed = references + 1 if late == 0 else max(references, late * APPEARS) + 2
    if shortest < needed:
        raise UserError(
            f"data.frames={frames} gives a video of {shortest} frames, and refs={references} with data.late={late} "
            f"needs {needed} at least: give more frames, or lower data.vary="
        )
    return [
        _video(
            index,
            length=frames - round(int(vary * frames) * index / max(1, count - 1)),
            references=references,
            targets=targets,
            objects=objects,
            late=late,
            strangers=strangers,
            size=size,
            seed=seed,
        )
        for index in range(count)
    ]


def _video(
    index: int,
    *,
    length: int,
    references: int,
    targets: int | None,
    objects: int,
    late: int,
    strangers: int,
    size: tuple[int, int],
    seed: int,
) -> Group:
    scene = _scene((seed, index), objects=objects, late=late, strangers=strangers, size=size)
    early = tuple(range(1, objects - late + 1))
    shown = dict.fromkeys(range(references), early)
    for identity in range(objects - late + 1, objects + 1):
        number = scene.paths[identity - 1].appears
        shown[number] = (*shown.get(number, ()), identity)
    others = [number for number in range(length) if number not in shown][:targets]
    # A reference after the last target would tell of nothing.
    shown = {number: ids for number, ids in shown.items() if number < others[-1]}

    def frame(number: int, ids: tuple[int, ...] | None) -> Frame:
        render = partial(render_frame, scene, number)
        return Frame(
            name=f"frame{number:05d}",
            image=lambda: render()[0],
            labels=lambda: render()[1] if ids is None else np.where(np.isin(render()[1], ids), render()[1], 0),
        )

    return Group(
        name=f"video{index:03d}",
        object_ids=tuple(sorted(set().union(*shown.values()))),
        references=tuple(frame(number, ids) for number, ids in sorted(shown.items())),
        targets=tuple(frame(number, None) for number in others),
        reference_numbers=tuple(sorted(shown)),
        target_numbers=tuple(others),
    )


def _scene(seed: tuple[int, int], *, objects: int, late: int, strangers: int, size: tuple[int, int]) -> Scene:
    rng = np.random.default_rng(seed)
    count = objects + strangers
    paths = []
    for number in range(count):
        is_late = objects - late <= number < objects
        paths.append(
            Path(
                swing=(rng.uniform(0.06, 0.16), rng.uniform(0.06, 0.16)),
                pace=(2 * math.pi / rng.uniform(30, 60), 2 * math.pi / rng.uniform(30, 60)),
                phase=(rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)),
                spin=rng.uniform(-0.05, 0.05),
                outward=rng.uniform(0, 2 * math.pi),
                appears=APPEARS * (number - (objects - late) + 1) if is_late else 0,
                leaves=number == 0,
            )
        )
    present = [number for number in range(count) if paths[number].appears == 0]
    comers = [number for number in range(count) if paths[number].appears > 0]  # They come in before all others.
    order = (*(present[place] for place in rng.permutation(len(present))), *comers)
    return Scene(species=draw_species(rng, count), paths=tuple(paths), order=order, size=size, seed=seed)


@lru_cache(maxsize=8)  # A frame's image and labels are asked for one after the other.
def render_frame(scene: Scene, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a frame uint8 ``[height, width, 3]`` and the ids of all that it shows, ``[height, width]``."""
    rng = np.random.default_rng((*scene.seed, 1))  # The same for every frame, so that nothing around them moves.
    height, width = scene.size
    image = background(rng, scene.size)
    labels = np.zeros(scene.size, dtype=np.uint8)
    stretch = (width / min(scene.size), height / min(scene.size))
    barred = False
    for specimen in scene.order:
        path = scene.paths[specimen]
        if path.appears > 0 and not barred:
            _paint_bar(image, labels, number)
            barred = True
        part = scene.species[specimen]
        paint(image, part, path.pose(part, number, stretch=stretch), labels, object_id=specimen + 1)
    if not barred:
        _paint_bar(image, labels, number)
    return light(rng, image), labels


def _paint_bar(image: np.ndarray, labels: np.ndarray, number: int) -> None:
    """Draw the bar over what is there, where the frame has one."""
    width = labels.shape[1]
    progress = (number % CYCLE - BAR_ENTERS) / BAR_PASSES
    left = round((progress * (1 + BAR_WIDTH) - BAR_WIDTH) * width)
    covered = slice(max(0, left), max(0, left + round(BAR_WIDTH * width)))
    image[:, covered] = 0.35
    labels[:, covered] = 0

"""Seeded groups of drawn specimens: parts keep colour, texture and shape while everything around them changes.

A group is one species: its parts are drawn from the group's seed. Each frame shows one specimen of it, with its own
pose, scale, lighting, background and distractors; some parts are absent. Frame f of a group is the same picture
whatever else is asked for, so a run with more targets sees the targets of the smaller run again.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from harness.data.group import Frame, Group
from strategies.errors import UserError

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
SPECIMEN_RADIUS = 0.36
"""A specimen's radius at scale 1, as a share of the picture's shorter side."""
HARMONICS = (2, 3, 4, 5)
TEXTURES = ("plain", "stripes", "dots", "rings")
REFERENCE_STREAM, TARGET_STREAM = 0, 1
MOST_FRAMES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """The properties of one part that persist; lengths are in units of the picture's shorter side."""

    centre: tuple[float, float]
    radius: float
    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]
    colour: tuple[float, float, float]
    second_colour: tuple[float, float, float]
    texture: str
    frequency: float
    angle: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A similarity transform from specimen to picture coordinates."""

    centre: tuple[float, float]
    angle: float
    scale: float


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
        if asked > MOST_FRAMES:
            raise UserError(
                f"{option}= is too large: all groups together have at most {MOST_FRAMES:,}, and not {asked:,}"
            )
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


def draw_species(rng: np.random.Generator, objects: int) -> tuple[Part, ...]:
    """Draw the persistent parts of one species, laid out on a sunflower spiral so that any number fits."""
    spacing = SPECIMEN_RADIUS * math.sqrt(math.pi / objects)
    first_hue, turn = rng.uniform(size=2)
    parts = []
    for number in range(objects):
        distance = SPECIMEN_RADIUS * math.sqrt((number + 0.5) / objects) if objects > 1 else 0.0
        angle = number * GOLDEN_ANGLE + 2 * math.pi * turn
        jitter = rng.normal(scale=0.06 * spacing, size=2)
        centre = (distance * math.cos(angle) + jitter[0], distance * math.sin(angle) + jitter[1])
        hue = first_hue + number * (GOLDEN_ANGLE / (2 * math.pi)) + rng.normal(scale=0.04)
        parts.append(_draw_part(rng, centre=centre, radius=spacing * rng.uniform(0.38, 0.58), hue=hue))
    return tuple(parts)


def _draw_part(rng: np.random.Generator, *, centre: tuple[float, float], radius: float, hue: float) -> Part:
    saturation, value = rng.uniform(0.45, 1.0), rng.uniform(0.45, 1.0)
    colour = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    second = colorsys.hsv_to_rgb((hue + rng.normal(scale=0.08)) % 1, saturation * 0.8, value * rng.uniform(0.35, 0.75))
    return Part(
        centre=centre,
        radius=radius,
        amplitudes=tuple(rng.normal(scale=0.16 / order) for order in HARMONICS),
        phases=tuple(rng.uniform(0, 2 * math.pi, size=len(HARMONICS))),
        colour=colour,
        second_colour=second,
        texture=TEXTURES[rng.integers(len(TEXTURES))],
        frequency=rng.uniform(1.0, 2.5) / radius,
        angle=rng.uniform(0, math.pi),
    )


@lru_cache(maxsize=8)  # A frame's image and labels are asked for one after the other.
def render_specimen(
    species: tuple[Part, ...], *, size: tuple[int, int], absent: float, seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture uint8 ``[height, width, 3]`` and its ids ``[height, width]``; part k of the species has id k+1."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = _background(rng, size)
    labels = np.zeros(size, dtype=np.uint8)
    for _ in range(rng.integers(2, 6)):
        part = _draw_part(rng, centre=(0.0, 0.0), radius=rng.uniform(0.05, 0.16), hue=rng.uniform())
        place = (rng.uniform(-0.55, 0.55) * width / min(size), rng.uniform(-0.55, 0.55) * height / min(size))
        _paint(image, part, Pose(centre=place, angle=rng.uniform(0, 2 * math.pi), scale=1.0), labels, object_id=0)
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
            _paint(image, species[number], part_pose, labels, object_id=int(number) + 1)
    return _light(rng, image), labels


def _part_pose(pose: Pose, part: Part, wobble: np.ndarray) -> Pose:
    cos, sin = math.cos(pose.angle) * pose.scale, math.sin(pose.angle) * pose.scale
    x, y = part.centre[0] + wobble[0], part.centre[1] + wobble[1]
    return Pose(
        centre=(pose.centre[0] + cos * x - sin * y, pose.centre[1] + sin * x + cos * y),
        angle=pose.angle + wobble[2],
        scale=pose.scale,
    )


def _paint(image: np.ndarray, part: Part, pose: Pose, labels: np.ndarray, *, object_id: int) -> None:
    """Draw one part over the picture, within its bounding box; an id of 0 erases what it covers."""
    height, width = labels.shape
    unit = min(height, width)
    reach = 1.8 * part.radius * pose.scale * unit
    centre_x, centre_y = width / 2 + pose.centre[0] * unit, height / 2 + pose.centre[1] * unit
    left, right = max(0, int(centre_x - reach)), min(width, int(centre_x + reach) + 1)
    top, bottom = max(0, int(centre_y - reach)), min(height, int(centre_y + reach) + 1)
    if left >= right or top >= bottom:
        return
    step = unit * pose.scale
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - centre_x)[None, :] / step
    dy = (np.arange(top, bottom, dtype=np.float32) + 0.5 - centre_y)[:, None] / step
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    radius, direction = np.hypot(x, y), np.arctan2(y, x)
    edge = np.ones_like(direction)
    for order, amplitude, phase in zip(HARMONICS, part.amplitudes, part.phases, strict=True):
        edge += amplitude * np.cos(order * direction + phase)
    alpha = np.clip(0.5 + (part.radius * edge - radius) * step, 0, 1)[..., None]
    weight = _texture(part, x, y, radius)[..., None]
    first, second = (np.array(colour, dtype=np.float32) for colour in (part.colour, part.second_colour))
    colour = first + weight * (second - first)
    window = image[top:bottom, left:right]
    window += alpha * (colour - window)
    labels[top:bottom, left:right][alpha[..., 0] > 0.5] = object_id


def _texture(part: Part, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return how much of the second colour shows, from 0 to 1."""
    turn = 2 * math.pi * part.frequency
    u = turn * (math.cos(part.angle) * x + math.sin(part.angle) * y)
    match part.texture:
        case "stripes":
            wave = np.sin(u)
        case "dots":
            v = turn * (math.cos(part.angle) * y - math.sin(part.angle) * x)
            wave = 2 * np.sin(u) * np.sin(v) - 0.4
        case "rings":
            wave = np.sin(turn * radius)
        case _:
            return np.zeros_like(radius)
    return np.clip(0.5 + 2 * wave, 0, 1)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draw a colour with soft blotches and a faint wave."""
    height, width = size
    base = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.2, 0.95)), dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    image = np.broadcast_to(base, (height, width, 3)).copy()
    for _ in range(3):
        fx, fy, phase = rng.uniform(-3, 3), rng.uniform(-3, 3), rng.uniform(0, 2 * math.pi)
        tint = rng.normal(scale=0.06, size=3).astype(np.float32)
        image += np.sin(2 * math.pi * (fx * x + fy * y) + phase)[..., None] * tint
    return image


def _light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply gain, a colour cast, a gradient across the picture, and sensor noise; returns uint8."""
    height, width = image.shape[:2]
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, size=3)
    slope = rng.uniform(-0.2, 0.2, size=2)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    image *= (1 + slope[0] * x + slope[1] * y)[..., None] * gain.astype(np.float32)
    image += rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, 0.04)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)

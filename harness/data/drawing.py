"""How specimens are drawn: parts with a colour, a texture and a shape of their own, before a background, in some light.

What a frame shows, and where, is up to the sources of groups: `harness.data.synthetic`, `harness.data.drifting`.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from strategies.errors import UserError

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
SPECIMEN_RADIUS = 0.36
"""A specimen's radius at scale 1, as a share of the picture's shorter side."""
HARMONICS = (2, 3, 4, 5)
TEXTURES = ("plain", "stripes", "dots", "rings")
MOST_FRAMES = 1_000_000


def check_amount(option: str, asked: int) -> None:
    """Raise UserError for more frames than a sweep could ever encode, whose list alone would take minutes."""
    if asked > MOST_FRAMES:
        raise UserError(f"{option}= is too large: all groups together have at most {MOST_FRAMES:,}, and not {asked:,}")


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
        parts.append(draw_part(rng, centre=centre, radius=spacing * rng.uniform(0.38, 0.58), hue=hue))
    return tuple(parts)


def draw_part(rng: np.random.Generator, *, centre: tuple[float, float], radius: float, hue: float) -> Part:
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


def paint(image: np.ndarray, part: Part, pose: Pose, labels: np.ndarray, *, object_id: int) -> None:
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


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply gain, a colour cast, a gradient across the picture, and sensor noise; returns uint8."""
    height, width = image.shape[:2]
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, size=3)
    slope = rng.uniform(-0.2, 0.2, size=2)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    image *= (1 + slope[0] * x + slope[1] * y)[..., None] * gain.astype(np.float32)
    image += rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, 0.04)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)

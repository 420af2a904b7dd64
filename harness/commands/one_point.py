"""The one point that a command of the harness is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.options.compose import compose
from harness.options.points import Point
from strategies.errors import UserError


def composed(arguments: Sequence[str], *, command: str, defaults: Mapping[str, str]) -> list[Point]:
    """Compose the points of a command, as ``certify``; none where Hydra has only printed its help or the like.

    defaults: options that apply where the arguments do not set them.
    """
    named = {word.partition("=")[0] for word in arguments}
    given = [f"{key}={value}" for key, value in defaults.items() if key not in named]
    return compose([*given, f"name={command.replace(' ', '-')}", *arguments], module=f"harness.{command}")


def one_point(
    arguments: Sequence[str], *, command: str, defaults: Mapping[str, str], streams: bool = True
) -> Point | None:
    """Compose the point of a command, as `composed` does; None where there is none.

    streams: whether the command can follow any; the others refuse them.
    Raises UserError where there are several points.
    """
    if not streams and any(word.lstrip("+").replace("'", "") == "scenario=stream" for word in arguments):
        raise UserError(f"{command} follows no streams: leave out scenario=stream, which python -m harness measures")
    points = composed(arguments, command=command, defaults=defaults)
    if len(points) > 1:
        raise UserError(f"{command} takes one point, not {len(points)}: give one value for each option")
    return points[0] if points else None

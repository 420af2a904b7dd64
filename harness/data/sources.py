"""The groups that the options `data`, `refs`, `targets` and `objects` ask for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.data.davis import davis_groups
from harness.data.drifting import drifting_groups
from harness.data.folder import folder_groups
from harness.data.group import Group, OnBroken, opened
from harness.data.synthetic import synthetic_groups
from harness.data.videos import checked_video
from harness.options.config import HarnessConfig, effective_data
from harness.options.data import DavisConfig, DriftingConfig, FolderConfig, SyntheticConfig
from strategies.errors import UserError


def open_groups(config: HarnessConfig, on_broken: OnBroken | None = None) -> list[Group]:
    """Return all groups of the options' data, with all their objects; pictures are read when asked for.

    on_broken: told of each group of files that can't be used, which is then left out.
    Raises UserError for everything wrong with the data that shows without reading the targets; with ``on_broken``,
    where no group is left.
    """
    data = effective_data(config)
    match data:
        case SyntheticConfig():
            groups = synthetic_groups(
                count=data.groups,
                references=_given("refs", config.refs),
                targets=_given("targets", config.targets),
                objects=data.parts,
                size=(data.height, data.width),
                seed=config.seed,
                absent=data.absent,
            )
        case DriftingConfig():
            groups = drifting_groups(
                count=data.groups,
                frames=data.frames,
                references=_given("refs", config.refs),
                targets=config.targets,
                objects=data.parts,
                late=data.late,
                strangers=data.strangers,
                vary=data.vary,
                size=(data.height, data.width),
                seed=config.seed,
            )
        case DavisConfig():
            groups = davis_groups(
                root=Path(data.root),
                clips=data.clips,
                references=_given("refs", config.refs),
                targets=config.targets,
                picking=data.picking,
                seed=config.seed,
                groups=data.groups,
                in_order=config.scenario == "stream",
                on_broken=on_broken,
            )
        case FolderConfig():
            groups = folder_groups(
                root=Path(data.root),
                references=config.refs,
                targets=config.targets,
                groups=data.groups,
                in_order=config.scenario == "stream",
                on_broken=on_broken,
            )
        case _:
            raise TypeError(f"no groups are known for {type(data).__name__}")
    streamed = config.scenario == "stream"
    checking = ((group.name, partial(checked, group, config.objects, streamed=streamed)) for group in groups)
    return opened(checking, on_broken)


def checked(group: Group, objects: int | None, *, streamed: bool = False) -> Group:
    """Return the group. Raises UserError where more objects are asked for than its references show.

    streamed: raise it also where the group is no video that can be streamed.
    """
    if objects is not None and objects > len(group.object_ids):
        ids = ", ".join(map(str, group.object_ids))
        raise UserError(
            f"objects={objects} is more than group {group.name} has: its references show {len(group.object_ids)} "
            f"(ids {ids}); lower objects="
        )
    return checked_video(group) if streamed else group


def _given(option: str, value: int | None) -> int:
    """Return a number that this kind of data needs; raises UserError where it was left open."""
    if value is None:
        raise UserError(f"{option}=null leaves the number open, which this data can't settle: give a number")
    return value

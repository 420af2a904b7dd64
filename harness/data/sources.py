"""The groups that the options `data`, `refs`, `targets` and `objects` ask for."""

from __future__ import annotations

from pathlib import Path

from harness.data.davis import davis_groups
from harness.data.folder import folder_groups
from harness.data.group import Group
from harness.data.synthetic import synthetic_groups
from harness.options.config import DavisConfig, FolderConfig, HarnessConfig, SyntheticConfig, effective_data
from strategies.errors import UserError


def open_groups(config: HarnessConfig) -> list[Group]:
    """Return all groups of the options' data, with all their objects; pictures are read when asked for.

    Raises UserError for everything wrong with the data that shows without reading the targets.
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
        case DavisConfig():
            groups = davis_groups(
                root=Path(data.root),
                clips=data.clips,
                references=_given("refs", config.refs),
                targets=config.targets,
                picking=data.picking,
                seed=config.seed,
            )
        case FolderConfig():
            groups = folder_groups(root=Path(data.root), references=config.refs, targets=config.targets)
        case _:
            raise TypeError(f"no groups are known for {type(data).__name__}")
    for group in groups:
        check_objects(group, config.objects)
    return groups


def check_objects(group: Group, objects: int | None) -> None:
    """Raise UserError where more objects are asked for than the group's references show."""
    if objects is not None and objects > len(group.object_ids):
        ids = ", ".join(map(str, group.object_ids))
        raise UserError(
            f"objects={objects} is more than group {group.name} has: its references show {len(group.object_ids)} "
            f"(ids {ids}); lower objects="
        )


def _given(option: str, value: int | None) -> int:
    """Return a number that this kind of data needs; raises UserError where it was left open."""
    if value is None:
        raise UserError(f"{option}=null leaves the number open, which this data can't settle: give a number")
    return value

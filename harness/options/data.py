"""The options of the data sources, typed and checked: apart from the others, because keys of points need only these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from harness.options.shipped import defaults_from
from strategies.errors import UserError, one_of

PICKINGS = ("first", "even", "random")


@dataclass(kw_only=True)
class DataConfig:
    name: str = MISSING


@dataclass(kw_only=True)
@defaults_from("data/synthetic.yaml", "data")
class SyntheticConfig(DataConfig):
    groups: int = MISSING
    parts: int = MISSING
    height: int = MISSING
    width: int = MISSING
    absent: float = MISSING

    def __post_init__(self) -> None:
        for option in ("groups", "parts"):
            at_least(f"data.{option}", getattr(self, option), 1)
        check_ids("data.parts", self.parts)
        for option in ("height", "width"):
            at_least(f"data.{option}", getattr(self, option), 16)
        if not 0 <= self.absent < 1:
            raise UserError(f"data.absent={self.absent} is a chance: give 0 or more and less than 1")


@dataclass(kw_only=True)
@defaults_from("data/davis.yaml", "data")
class DavisConfig(DataConfig):
    root: str = MISSING
    clips: list[str] | None = MISSING
    groups: Any = MISSING
    picking: str = MISSING

    def __post_init__(self) -> None:
        one_of("data.picking", self.picking, PICKINGS)
        check_groups(self.groups)
        if self.clips is not None and isinstance(self.groups, list | str):
            raise UserError("data.clips= and data.groups= both name clips: give one of them")


@dataclass(kw_only=True)
@defaults_from("data/folder.yaml", "data")
class FolderConfig(DataConfig):
    root: str = MISSING
    groups: Any = MISSING

    def __post_init__(self) -> None:
        check_groups(self.groups)


@dataclass(kw_only=True)
@defaults_from("data/drifting.yaml", "data")
class DriftingConfig(DataConfig):
    groups: int = MISSING
    frames: int = MISSING
    parts: int = MISSING
    late: int = MISSING
    strangers: int = MISSING
    vary: float = MISSING
    height: int = MISSING
    width: int = MISSING

    def __post_init__(self) -> None:
        for option in ("groups", "parts"):
            at_least(f"data.{option}", getattr(self, option), 1)
        for option in ("late", "strangers"):
            at_least(f"data.{option}", getattr(self, option), 0)
        at_least("data.frames", self.frames, 2)
        check_ids("data.parts", self.parts)
        check_ids("data.strangers", self.parts + self.strangers)
        for option in ("height", "width"):
            at_least(f"data.{option}", getattr(self, option), 16)
        if not 0 <= self.vary < 1:
            raise UserError(f"data.vary={self.vary} is a share: give 0 or more and less than 1")


SOURCES: dict[str, type[DataConfig]] = {
    "synthetic": SyntheticConfig,
    "drifting": DriftingConfig,
    "davis": DavisConfig,
    "folder": FolderConfig,
}
"""The options of each source of data, by the name of its YAML in ``conf/data/``."""


def check_groups(groups: Any) -> None:
    """Refuse what is neither a number of groups nor their names; OmegaConf knows no type for either."""
    names = groups if isinstance(groups, list) else [groups]
    if isinstance(groups, int) and not isinstance(groups, bool):
        at_least("data.groups", groups, 1)
    elif groups is not None and (not names or not all(isinstance(name, str | int) for name in names)):
        raise UserError(f"data.groups={groups} is not valid: give a number of groups, or names as [wings,legs]")


def at_least(option: str, value: float, least: float) -> None:
    if not value >= least:  # This refuses NaN, too.
        raise UserError(f"{option}={value} is too small: give {least} or more")


def at_most(option: str, value: float, most: float) -> None:
    if not value <= most:
        given = f"{option}={value}" if len(str(value)) < 30 else f"{option}="
        raise UserError(f"{given} is too large: give {most:,} or less")


def check_ids(option: str, count: int) -> None:
    """Refuse more objects than a label map can tell apart."""
    from strategies.vocabulary import VOID  # here, because it brings torch, which reading keys does not need

    most = VOID - 1
    if count > most:
        raise UserError(f"{option}={count} is too large: label maps hold {most} ids, so give at most that")

"""The options of the data sources, typed and checked: apart from the others, because keys of points need only these."""

from __future__ import annotations

from dataclasses import dataclass

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
    picking: str = MISSING

    def __post_init__(self) -> None:
        one_of("data.picking", self.picking, PICKINGS)


@dataclass(kw_only=True)
class FolderConfig(DataConfig):
    root: str = MISSING


def at_least(option: str, value: float, least: float) -> None:
    if not value >= least:  # so that NaN is refused too
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

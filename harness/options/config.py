"""The harness's options, typed and checked. `conf/` gives the values, Hydra puts them together.

An option that is `MISSING` here has its default in `conf/`, from where `defaults_from` takes it. Options that only
strategies read are not here: their types and choices stand in the strategies' constructors, where
`harness.options.signature` finds them.
The classes are not frozen, because OmegaConf makes a frozen one a read-only config that nothing can override.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from harness.options.data import (
    SOURCES,
    DataConfig,
    DriftingConfig,
    SyntheticConfig,
    at_least,
    at_most,
    check_ids,
)
from harness.options.devices import device_folder
from harness.options.shards import Shard
from harness.options.shipped import defaults_from, shipped
from strategies.errors import UserError, one_of
from strategies.models.precision import DTYPES

ENGINES = ("local", "ray")
DECODINGS = ("exact", "fast")
FORMATS = ("png", "coco")
ISOLATIONS = ("fork", "spawn", "inline")
SCENARIOS = ("predict", "job", "stream")
MOST_PROCESSES = 1000
"""A point's processes; so many take two hours for their imports alone."""
TAKEN = ("environment", "plan")
"""Names of a run's own JSON files."""
LONGEST_NAME = 200
"""Bytes of a run's name; a folder's has 255, the time included."""


@dataclass(kw_only=True)
class ModelConfig:
    name: str = MISSING
    weights: str | None = None


@dataclass(kw_only=True)
@defaults_from("config.yaml", "encode")
class EncodeConfig:
    batch: int = MISSING
    workers: int = MISSING
    compile: bool = MISSING
    channels_last: bool = MISSING

    def __post_init__(self) -> None:
        at_least("encode.batch", self.batch, 1)
        at_least("encode.workers", self.workers, 1)


@dataclass(kw_only=True)
@defaults_from("config.yaml", "timing")
class TimingConfig:
    """When timing ends; `harness.measure.pairing` says what a block and a round are."""

    processes: int = MISSING
    min_seconds: float = MISSING
    min_rounds: int = MISSING
    width: float = MISSING
    max_seconds: float = MISSING
    same: float = MISSING
    groups: int = MISSING
    block_seconds: float = MISSING
    block_mb: int = MISSING
    warmup_seconds: float = MISSING
    sustained_seconds: float = MISSING

    def __post_init__(self) -> None:
        for option in ("processes", "min_rounds", "groups", "block_mb"):
            at_least(f"timing.{option}", getattr(self, option), 1)
        for option in ("min_seconds", "width", "same", "block_seconds", "warmup_seconds", "sustained_seconds"):
            at_least(f"timing.{option}", getattr(self, option), 0)
        at_most("timing.processes", self.processes, MOST_PROCESSES)
        if not self.max_seconds >= self.min_seconds:  # This refuses NaN, too.
            raise UserError(
                f"timing.max_seconds={self.max_seconds} is less than timing.min_seconds={self.min_seconds}; raise it"
            )


@dataclass(kw_only=True)
@defaults_from("config.yaml", "certify")
class CertifyConfig:
    """The options of ``python -m harness.certify``."""

    minutes: float = MISSING
    comparisons: int = MISSING
    detections: int = MISSING
    effect: float | None = MISSING
    neighbours: int = MISSING
    groups: int = MISSING
    slowdowns: list[float] = MISSING

    def __post_init__(self) -> None:
        for option in ("comparisons", "detections", "groups"):
            at_least(f"certify.{option}", getattr(self, option), 1)
            at_most(f"certify.{option}", getattr(self, option), 10_000)
        at_least("certify.neighbours", self.neighbours, 0)
        at_most("certify.neighbours", self.neighbours, 1024)
        if not self.minutes > 0:  # This refuses NaN, too.
            raise UserError(f"certify.minutes={self.minutes} leaves no time: give more than 0")
        if self.effect is not None and not 0.001 <= self.effect <= 10:
            raise UserError(f"certify.effect={self.effect} must be a share from 0.001 to 10, as 0.05")
        if not all(slowdown > 0 for slowdown in self.slowdowns):
            raise UserError(f"certify.slowdowns={list(self.slowdowns)} must be shares above 0, as [0.02,0.05]")


@dataclass(kw_only=True)
@defaults_from("config.yaml", "check", "margins")
class MarginsConfig:
    """How much worse than in the snapshot a point may be, in shares for speed and memory, in differences for masks."""

    speedup: float = MISSING
    iou_mean: float = MISSING
    iou_min: float = MISSING
    jf: float = MISSING
    memory: float = MISSING

    def __post_init__(self) -> None:
        for option, margin in vars(self).items():
            at_least(f"check.margins.{option}", margin, 0)


@dataclass(kw_only=True)
@defaults_from("config.yaml", "check")
class CheckConfig:
    """The options of ``python -m harness.check``."""

    against: str | None = MISSING
    snapshot: str | None = MISSING
    run: str | None = MISSING
    subset: bool = MISSING
    minutes: float = MISSING
    retries: int | None = MISSING
    margins: MarginsConfig = field(default_factory=MarginsConfig)

    def __post_init__(self) -> None:
        at_least("check.minutes", self.minutes, 0)
        at_least("check.retries", self.retries or 0, 0)


@dataclass(kw_only=True)
@defaults_from("config.yaml", "label")
class LabelConfig:
    """The options of ``python -m harness.label``."""

    out: str | None = MISSING
    format: list[str] = MISSING
    review: int = MISSING
    threads: int | None = MISSING
    workers: int | None = MISSING
    engine: str = MISSING
    actors: int | None = MISSING
    cores: int | None = MISSING
    shard: str | None = MISSING
    run: str | None = MISSING
    exact: bool = MISSING
    calibration: float | None = MISSING
    decode: str = MISSING

    def __post_init__(self) -> None:
        if self.out == "":
            raise UserError("out= is empty: give the folder that masks go to")
        for kind in self.format:
            one_of("format", kind, FORMATS)
        one_of("engine", self.engine, ENGINES)
        one_of("decode", self.decode, DECODINGS)
        at_least("label.review", self.review, 0)
        at_least("label.calibration", self.calibration or 0, 0)
        for option in ("threads", "workers", "actors", "cores"):
            if getattr(self, option) is not None:
                at_least(f"label.{option}", getattr(self, option), 1)
                at_most(f"label.{option}", getattr(self, option), 1024)


@dataclass(kw_only=True)
@defaults_from("config.yaml", "extras")
class ExtrasConfig:
    """What a run measures besides its points (`harness.isolate.extra`)."""

    before: list[str] = MISSING
    after: list[str] = MISSING
    seconds: float = MISSING

    def __post_init__(self) -> None:
        at_least("extras.seconds", self.seconds, 0)
        listed = [*self.before, *self.after]
        names = [*TAKEN, *map(name_of, listed)]
        for function in listed:
            if names.count(name_of(function)) > 1:
                raise UserError(
                    f"extras={function} would be stored as {name_of(function)}.json, which another file is called: "
                    "give the function another name"
                )


def name_of(function: str) -> str:
    """Return the name that an extra, given as ``module.function``, goes by."""
    return function.rpartition(".")[2]


@dataclass(kw_only=True)
@defaults_from("config.yaml")
class HarnessConfig:
    """One grid point and how it is measured.

    strategy, baseline: the class (``_target_``) and the arguments of its constructor, as its YAML gives them; each
    strategy has others, so their types stand in its constructor.
    """

    strategy: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    batch: int = MISSING
    videos: int = MISSING
    objects: int | None = MISSING
    refs: int | None = MISSING
    targets: int | None = MISSING
    dtype: str = MISSING
    device: str = MISSING
    seed: int = MISSING
    name: str = MISSING
    results: str = MISSING
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)
    certify: CertifyConfig = field(default_factory=CertifyConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    label: LabelConfig = field(default_factory=LabelConfig)
    extras: ExtrasConfig = field(default_factory=ExtrasConfig)
    scenario: str = MISSING
    repeat: int = MISSING
    paired: bool = MISSING
    compare: bool = MISSING
    pictures: int = MISSING
    project_to: int = MISSING
    camera_fps: float = MISSING
    isolation: str = MISSING
    timeout: float | None = MISSING
    minutes: float | None = MISSING
    monitor_interval: float = MISSING
    resume: Any = MISSING
    shard: str | None = MISSING
    reporter: str | None = MISSING
    experiment: str | None = MISSING
    sweeps: list[str] = MISSING

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 1)
        at_least("videos", self.videos, 1)
        if self.objects is not None:
            check_ids("objects", self.objects)
        for option in ("objects", "refs", "targets"):
            if getattr(self, option) is not None:
                at_least(option, getattr(self, option), 1)
        for option in ("seed", "pictures"):
            at_least(option, getattr(self, option), 0)
        at_least("project_to", self.project_to, 1)
        at_most("project_to", self.project_to, 10**12)
        if not 0 < self.camera_fps < math.inf:  # This refuses NaN, too.
            raise UserError(f"camera_fps={self.camera_fps} is no rate of a camera: give more than 0, as 30")
        for option in ("batch", "videos", "objects", "refs", "targets", "repeat", "pictures"):
            at_most(option, getattr(self, option) or 0, 2**31 - 1)
        at_most("seed", self.seed, 2**63 - 1)
        if self.timeout is not None and not self.timeout > 0:
            raise UserError(f"timeout={self.timeout} leaves a point no time: give seconds, or null for no limit")
        if self.minutes is not None and not self.minutes > 0:
            raise UserError(f"minutes={self.minutes} leaves no time: give more than 0, or null for no limit")
        at_least("monitor_interval", self.monitor_interval, 0.01)
        at_most("monitor_interval", self.monitor_interval, 3600)
        one_of("isolation", self.isolation, ISOLATIONS)
        one_of("scenario", self.scenario, SCENARIOS)
        if self.scenario == "job" and self.label.decode != "exact":
            raise UserError(f"label.decode={self.label.decode} is not measured by scenario=job: leave one of them out")
        if self.scenario == "stream" and self.batch != shipped()["batch"]:
            raise UserError(
                f"batch={self.batch} means nothing with scenario=stream: videos= says how many videos go at once"
            )
        if not isinstance(self.resume, bool | str | None):
            raise UserError(f"resume={self.resume} is not known; give true, or the folder of a run")
        if self.shard is not None:
            Shard.parsed(self.shard)
            if self.name in ("", ".", "..", "latest"):
                raise UserError(f"name={self.name} can't be that of a run in parts, whose folder has it: give another")
            if isinstance(self.resume, str):
                raise UserError(
                    f"shard={self.shard} goes on with the run that name= and results= name: leave out resume="
                )
        one_of("dtype", self.dtype, tuple(DTYPES))
        if not self.results:
            raise UserError("results= is empty: give the folder that runs go to")
        if "/" in self.name:
            raise UserError(f"name={self.name} must not hold a slash: it becomes part of a folder's name")
        if len(os.fsencode(self.name)) > LONGEST_NAME:
            raise UserError(
                f"name={self.name[:20]}... is too long: it becomes part of a folder's name, so give at most "
                f"{LONGEST_NAME} bytes"
            )


def effective_data(config: HarnessConfig) -> DataConfig:
    """Return the data options that decide the pictures: there are more specimens where more objects are asked for."""
    data = config.data
    if not isinstance(data, SyntheticConfig | DriftingConfig):
        return data
    if config.objects is not None and config.objects > data.parts:
        return type(data)(**{**vars(data), "parts": config.objects})
    return data


@cache
def register() -> None:
    """Make the schemas known to Hydra, hidden under `_schema`, and what ``${device_folder:...}`` stands for."""
    OmegaConf.register_new_resolver("device_folder", device_folder, replace=True)
    store = ConfigStore.instance()
    store.store(group="_schema/model", name="model", node=ModelConfig)
    for name, node in SOURCES.items():
        store.store(group="_schema/data", name=name, node=node)

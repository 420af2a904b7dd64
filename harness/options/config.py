"""The harness's options, typed and checked. `conf/` gives the values, Hydra puts them together.

The classes are not frozen, because OmegaConf makes a frozen one a read-only config that nothing can override.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from harness.options.data import (
    DataConfig,
    DavisConfig,
    FolderConfig,
    SyntheticConfig,
    at_least,
    check_ids,
    one_of,
)
from strategies.components.sdpa import CHOICES
from strategies.direct import BANKS
from strategies.errors import UserError
from strategies.extended_session import POSITIONS
from strategies.models.precision import DTYPES

ISOLATIONS = ("spawn", "inline")


@dataclass(kw_only=True)
class ModelConfig:
    name: str = MISSING
    weights: str | None = None


@dataclass(kw_only=True)
class EncodeConfig:
    batch: int = 8
    workers: int = 2

    def __post_init__(self) -> None:
        at_least("encode.batch", self.batch, 1)
        at_least("encode.workers", self.workers, 1)


@dataclass(kw_only=True)
class TimingConfig:
    """When timing has seen enough; `harness.measure.pairing` says what a block and a round are."""

    min_seconds: float = 1.0
    min_rounds: int = 6
    width: float = 0.1
    max_seconds: float = 5.0
    same: float = 0.05
    groups: int = 4
    block_seconds: float = 0.25
    block_mb: int = 1024
    warmup_seconds: float = 1.0
    sustained_seconds: float = 10.0

    def __post_init__(self) -> None:
        for option in ("min_rounds", "groups", "block_mb"):
            at_least(f"timing.{option}", getattr(self, option), 1)
        for option in ("min_seconds", "width", "same", "block_seconds", "warmup_seconds", "sustained_seconds"):
            at_least(f"timing.{option}", getattr(self, option), 0)
        if not self.max_seconds >= self.min_seconds:  # so that NaN is refused too
            raise UserError(
                f"timing.max_seconds={self.max_seconds} is less than timing.min_seconds={self.min_seconds}; raise it"
            )


@dataclass(kw_only=True)
class CertifyConfig:
    """What ``python -m harness.certify`` does."""

    comparisons: int = 40
    detections: int = 10
    slowdowns: list[float] = field(default_factory=lambda: [0.02, 0.05, 0.1, 0.2])

    def __post_init__(self) -> None:
        at_least("certify.comparisons", self.comparisons, 1)
        at_least("certify.detections", self.detections, 1)
        if not all(slowdown > 0 for slowdown in self.slowdowns):
            raise UserError(f"certify.slowdowns={list(self.slowdowns)} must be shares above 0, as [0.02,0.05]")


@dataclass(kw_only=True)
class MarginsConfig:
    """How much worse than in the snapshot a point may be; shares of it for speed and memory, differences for masks."""

    speedup: float = 0.1
    iou_mean: float = 0.005
    iou_min: float = 0.05
    jf: float = 0.005
    memory: float = 0.1

    def __post_init__(self) -> None:
        for option, margin in vars(self).items():
            at_least(f"check.margins.{option}", margin, 0)


@dataclass(kw_only=True)
class CheckConfig:
    """What ``python -m harness.check`` does."""

    snapshot: str | None = None
    run: str | None = None
    subset: bool = False
    retries: int = 2
    margins: MarginsConfig = field(default_factory=MarginsConfig)

    def __post_init__(self) -> None:
        at_least("check.retries", self.retries, 0)


@dataclass(kw_only=True)
class HarnessConfig:
    """One grid point and how it is measured.

    strategy, baseline: the class (``_target_``) and the arguments of its constructor, as its YAML gives them; they are
    as many kinds as there are strategies, so their types are the constructor's.
    """

    strategy: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    batch: int = 8
    objects: int | None = None
    refs: int | None = 2
    targets: int | None = 16
    bank: str = "shared"
    positions: str = "pinned"
    compile: bool = False
    cuda_graphs: bool = False
    sdpa: str = "auto"
    dtype: str = "fp32"
    device: str = "auto"
    seed: int = 0
    name: str = "sweep"
    results: str = "results"
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)
    certify: CertifyConfig = field(default_factory=CertifyConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    repeat: int = 0
    paired: bool = True
    compare: bool = True
    pictures: int = 3
    project_to: int = 29_066
    isolation: str = "spawn"
    timeout: float | None = 600.0
    monitor_interval: float = 0.2
    resume: Any = None
    reporter: str | None = None
    experiment: str | None = None
    sweeps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 1)
        if self.objects is not None:
            check_ids("objects", self.objects)
        for option in ("objects", "refs", "targets"):
            if getattr(self, option) is not None:
                at_least(option, getattr(self, option), 1)
        for option in ("seed", "pictures"):
            at_least(option, getattr(self, option), 0)
        at_least("project_to", self.project_to, 1)
        if self.timeout is not None and not self.timeout > 0:
            raise UserError(f"timeout={self.timeout} leaves a point no time: give seconds, or null for no limit")
        at_least("monitor_interval", self.monitor_interval, 0.01)
        one_of("isolation", self.isolation, ISOLATIONS)
        if not isinstance(self.resume, bool | str | None):
            raise UserError(f"resume={self.resume} is not known; give true, or the folder of a run")
        one_of("bank", self.bank, BANKS)
        one_of("positions", self.positions, POSITIONS)
        one_of("sdpa", self.sdpa, CHOICES)
        one_of("dtype", self.dtype, tuple(DTYPES))
        if not self.results:
            raise UserError("results= is empty: give the folder that runs go to")
        if "/" in self.name:
            raise UserError(f"name={self.name} must not hold a slash: it becomes part of a folder's name")


def effective_data(config: HarnessConfig) -> DataConfig:
    """The data options that decide the pictures: synthetic specimens grow where more objects are asked for."""
    data = config.data
    if isinstance(data, SyntheticConfig) and config.objects is not None and config.objects > data.parts:
        return SyntheticConfig(**{**vars(data), "parts": config.objects})
    return data


def register() -> None:
    """Make the schemas known to Hydra, hidden under `_schema`."""
    store = ConfigStore.instance()
    store.store(group="_schema", name="harness", node=HarnessConfig)
    store.store(group="_schema/model", name="model", node=ModelConfig)
    for name, node in (("synthetic", SyntheticConfig), ("davis", DavisConfig), ("folder", FolderConfig)):
        store.store(group="_schema/data", name=name, node=node)

"""``python -m harness.certify masks [KEY=VALUE ...]``: which planted faults the harness's check of masks catches.

Every fault of the catalogue (`strategies.planted_faults.catalogue`) is measured as a point like any other, with as
little timing as there can be, in fp32, and in bf16 where the machine can compute in it. Then exact strategies are
judged on many drawn groups, where none may be called wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.commands.one_point import one_point
from harness.data.group import Group
from harness.data.sources import open_groups
from harness.isolate.jobs import model_of
from harness.masks.pictures import PictureBook
from harness.masks.rule import Differences, measures
from harness.measure.fp32 import judge_untimed
from harness.measure.point import measure_point
from harness.options.config import HarnessConfig, TimingConfig
from harness.options.data import SyntheticConfig
from harness.options.devices import resolve_device
from harness.options.points import Point
from harness.result import PointResult
from harness.store.certificate import Share
from harness.store.environment import describe_environment
from harness.store.mask_certificate import FaultFound, Found, Honest, MaskCertificate, store
from harness.workload.encode import Workload, encode_workload
from harness.workload.scratch import scratch_folder
from strategies.cpu_features import usable_on_cpu
from strategies.models.precision import DTYPES
from strategies.planted_faults.catalogue import FAULTS, Fault

CATALOGUE = {
    **{"strategy": "direct", "data": "synthetic", "data.groups": "2", "data.parts": "4", "data.absent": "0.3"},
    **{"refs": "3", "targets": "12", "batch": "4", "objects": "null"},
}
"""With these options there are enough references, absent objects and targets for each fault to show."""
TIMING = TimingConfig(min_seconds=0, max_seconds=0, warmup_seconds=0, block_seconds=0, sustained_seconds=0, width=1e9)
"""The least timing there can be, for no time is of interest here."""
HONEST: tuple[dict[str, Any], ...] = (
    {"_target_": "strategies.direct.Direct", "bank": "shared"},
    {"_target_": "strategies.direct.Direct", "bank": "repeat"},
    {"_target_": "strategies.direct.Direct", "bank": "expand", "chunk_tokens": 256},
    {"_target_": "strategies.multi_session.MultiSession"},
    {"_target_": "strategies.extended_session.ExtendedSession"},
)
DTYPES_TRIED = ("fp32", "bf16")
GROUPS_A_SET = 4
"""So many drawn groups share a noise floor, as the groups of a point do."""


def certify_masks(arguments: Sequence[str]) -> int:
    """Make the certificate of the point that the arguments name, print it and store it; returns the exit code."""
    point = one_point(arguments, command="certify masks", defaults=CATALOGUE, streams=False)
    if point is None:
        return 0
    console = Console(soft_wrap=True, highlight=False)
    certificate = mask_certificate(point, FAULTS, tell=console.print)
    path = store(certificate, Path(point.config.results) / "certificates")
    console.print(_table(certificate))
    for one in certificate.honest:
        console.print(
            f"exact strategies in {one.dtype}: {one.wrong.found} of {one.wrong.count} called wrong on {one.groups} "
            f"groups; they use at most {one.share_of_limits:.0%} of a limit"
        )
    console.print(f"certificate: {path}")
    return 0


def mask_certificate(point: Point, faults: Sequence[Fault], *, tell: Any = lambda _: None) -> MaskCertificate:
    """Try all faults and exact strategies in each dtype that the device can compute in.

    tell: a function that gets a line for each fault as it is tried.
    """
    by_fault: dict[str, dict[str, Found]] = {fault.name: {} for fault in faults}
    honest = []
    for dtype in dtypes_here(point.config):
        config = replace(point.config, dtype=dtype)
        for fault, found in judge_faults(replace(point, config=config), faults):
            by_fault[fault.name][dtype] = found
            tell(f"{dtype} {fault.name}: {'caught' if found.caught else 'PASSED'} ({found.reason})")
        honest.append(judge_honest(config, groups=config.certify.groups))
    environment = describe_environment(resolve_device(point.config.device))
    return MaskCertificate(
        device=environment["device"],
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        git_commit=environment["git_commit"],
        model=point.config.model.name,
        faults=[FaultFound(name=fault.name, what=fault.what, by_dtype=by_fault[fault.name]) for fault in faults],
        honest=honest,
    )


def dtypes_here(config: HarnessConfig) -> list[str]:
    """Return the dtypes that the device can compute in; some CPUs announce instructions that kill the process."""
    on_cpu = resolve_device(config.device).type == "cpu"
    return [dtype for dtype in DTYPES_TRIED if dtype == "fp32" or not on_cpu or usable_on_cpu(DTYPES[dtype])]


def judge_faults(point: Point, faults: Sequence[Fault]) -> Iterator[tuple[Fault, Found]]:
    """Measure each fault as a point in the dtype of ``point``.

    Only faults that show while they are timed have a baseline strategy, which is the fastest of the exact ones.
    """
    with scratch_folder() as folder:
        workload = _workload(point.config, folder / "features")
        pictures = PictureBook(folder, targets=0)
        for fault in faults:
            timed = fault.rounds > 2
            timing = replace(TIMING, min_rounds=fault.rounds, max_seconds=1e9 if timed else 0)
            tried = replace(
                point,
                strategy=fault.name,
                config=replace(
                    point.config, strategy=fault.options, baseline=HONEST[0], timing=timing, paired=timed, pictures=0
                ),
            )
            yield fault, _found(measure_point(tried, workload, pictures))


def judge_honest(config: HarnessConfig, *, groups: int) -> Honest:
    """Judge exact strategies on ``groups`` drawn groups, in sets that differ in references, parts and batch."""
    verdicts: list[bool] = []
    shares: list[float] = []
    sets = -(-groups // GROUPS_A_SET)
    for number in range(sets):
        drawn = replace(
            config,
            data=SyntheticConfig(name="synthetic", groups=GROUPS_A_SET, parts=1 + number % 5),
            refs=1 + number * 3 % 7,
            targets=6,
            batch=1 + number % 4,
            seed=1000 + number,
        )
        with scratch_folder() as folder:
            workload = _workload(drawn, folder / "features")
            for options in HONEST:
                check, limits = judge_untimed(replace(drawn, strategy=dict(options)), workload)
                verdicts.append(check.fault is not None)
                if check.agreed is not None:
                    shares.append(measures(check.agreed.differences, limits.differences)[0].share)
    return Honest(
        dtype=config.dtype,
        groups=sets * GROUPS_A_SET,
        wrong=Share.of(verdicts),
        share_of_limits=max(shares, default=None),
    )


def _workload(config: HarnessConfig, folder: Path) -> Workload:
    groups = [_without_truth(group) for group in open_groups(config)]
    model = model_of(config, known_usable=True)
    encode_workload(model, groups, options=config.encode, folder=folder)
    return Workload(model, groups, folder)


def _without_truth(group: Group) -> Group:
    """Return the group without labels of its targets, which every fault would be scored by, and nobody looks at."""
    return replace(group, targets=tuple(replace(frame, labels=None) for frame in group.targets))


def _found(result: PointResult) -> Found:
    row, details = result.row, result.details
    in_fp32 = row.status == "wrong" and row.masks == "same" and row.fp32_masks == "differ"
    judged = details["in_fp32"] if in_fp32 else details
    number = size = floor = limit = None
    agreement, limits = judged["agreement"], judged["limits"]
    if agreement is not None and agreement["misfit"] is None:
        found, allowed = (Differences.from_json(one["differences"]) for one in (agreement, limits))
        nearest = measures(found, allowed)[0]
        number, size, limit = f"{nearest.kind}, {nearest.quantile}", nearest.value, nearest.limit
        floor = judged["noise_floor"]["fine"][nearest.kind][nearest.quantile]
    return Found(
        caught=row.status == "wrong",
        in_fp32=in_fp32,
        number=number,
        size=size,
        floor=floor,
        limit=limit,
        reason=row.reason,
    )


def _table(certificate: MaskCertificate) -> Table:
    dtypes = [one.dtype for one in certificate.honest]
    table = Table("fault", *[f"{dtype}{number}" for dtype in dtypes for number in ("", " size", " floor")])
    for fault in certificate.faults:
        cells = []
        for found in map(fault.by_dtype.get, dtypes):
            cells += ["", "", ""] if found is None else _cells(found)
        table.add_row(fault.name, *cells)
    return table


def _cells(found: Found) -> list[str]:
    verdict = "passed" if not found.caught else "caught in fp32" if found.in_fp32 else "caught"
    return [verdict, *("" if number is None else f"{number:.1e}" for number in (found.size, found.floor))]

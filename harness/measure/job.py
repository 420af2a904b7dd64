"""The scenario ``job``: pictures on disk become masks on disk, by the pipeline and by the loop that users write.

A call labels a set of a group's targets from the beginning: references are read, the bank is built, pictures are read
and encoded, masks are predicted, enlarged and written. A block is a fixed set of targets, in another order in each
turn. Whether a strategy's masks are right is judged before, as in every scenario; here the masks of the two sides are
compared at the pictures' size, and those of the pipeline with those of its own stages one after another.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from harness.data.group import Frame, evenly
from harness.masks.label_ious import LabelMap
from harness.masks.mean_iou import TIMES, mean_iou_limit
from harness.measure.correctness import Meters
from harness.measure.job_masks import filed, masks_of, pair_ious
from harness.measure.job_sides import MASKS, Loop, Pipelined, Turn, Written
from harness.measure.job_stages import Alone, one_after_another
from harness.measure.scenario import Findings, ReleasableSide
from harness.measure.speed_measurement import SpeedMeasurement
from harness.options.config import HarnessConfig
from harness.pipeline.cores import Cores, available
from harness.pipeline.meter import NETWORK, STAGES, bottleneck
from harness.pipeline.plan import Work, work_of
from harness.pipeline.rehearse import cores_of
from harness.result import SideName
from harness.workload.encode import EncodedGroup, Workload, encoder_of
from strategies.base import Strategy
from strategies.vocabulary import Predictions

BLOCK_TARGETS = 64
"""A block has so many targets, where the group has: the same for every batch, as each pays for references and bank."""
LOST = 0.5
"""Masks with a lower IoU are of different objects, or of none."""
PASSES = 3
"""The stages run alone so often, and the pass with the median CPU time counts."""


class Job:
    """The work of a point that labels the pictures of its workload's groups."""

    def __init__(
        self,
        config: HarnessConfig,
        workload: Workload,
        *,
        candidate: Strategy,
        baseline: Strategy | None,
        expected: Sequence[Predictions] | None,
        meters: Meters,
    ) -> None:
        """Take the same as every scenario does; ``meters`` are of batches of features, of which a job has none."""
        self._config = config
        self._workload = workload
        self._candidate = candidate
        self._baseline = baseline
        self._expected = expected
        self._groups: list[GroupJob] = []

    @property
    def paired(self) -> bool:
        return self._baseline is not None

    def timed_groups(self) -> list[GroupJob]:
        """Return the work of at most ``timing.groups`` groups, spread over all."""
        indices = evenly(range(len(self._workload.groups)), self._config.timing.groups)
        self._groups = [self._group(index) for index in indices]
        return self._groups

    def _group(self, index: int) -> GroupJob:
        return GroupJob(
            self._config,
            self._workload.groups[index],
            candidate=self._candidate,
            baseline=self._baseline,
            expected=None if self._expected is None else self._expected[index],
            scratch=self._workload.folder,
        )

    def findings(self, timed: SpeedMeasurement, *, first: bool) -> Findings:
        """Return how far the two sides' masks agree, how busy each stage was, and what stages take alone."""
        ious = [iou for group in self._groups for iou in group.ious]
        fault = self._disagreement(ious) if ious else None
        compared = {"job_iou_mean": fmean(ious), "job_iou_min": min(ious)} if ious else {}
        if not first:
            return Findings(columns=compared, fault=fault)
        alone, other_bytes = self._groups[0].alone()
        rates = self._beside(alone, timed)
        busy = {name: sum(group.busy[name] for group in self._groups) for name in STAGES}
        seconds = sum(group.seconds for group in self._groups)
        workers = sum(group.seconds * group.cores.workers for group in self._groups) / seconds
        shares = {f"{name}_busy": one / (seconds * (1 if name in NETWORK else workers)) for name, one in busy.items()}
        details = {
            "threads": [group.cores.threads for group in self._groups],
            "workers": [group.cores.workers for group in self._groups],
            "targets_of_a_block": [group.count for group in self._groups],
            "busy_seconds": busy,
            "seconds_alone": {name: one / alone.targets for name, one in alone.seconds.items()},
            "cpu_seconds_alone": alone.cpu_seconds / alone.targets,
        }
        columns = {**shares, "bottleneck": bottleneck(busy, workers=workers) or None, **rates, **compared}
        return Findings(columns=columns, details=details, fault=fault or other_bytes)

    def _beside(self, alone: Alone, timed: SpeedMeasurement) -> dict[str, float]:
        """Return the columns that set the first group's blocks beside its stages alone."""
        name = self._groups[0].name
        blocks = [block for block in timed.blocks if block.group == name and block.side == "candidate"]
        targets = sum(block.targets for block in blocks)
        return {
            "overlap": max(alone.seconds.values()) / alone.targets * targets / sum(block.seconds for block in blocks),
            "job_cpu_ratio": sum(block.cpu_seconds for block in blocks) / targets * alone.targets / alone.cpu_seconds,
        }

    def _disagreement(self, ious: Sequence[float]) -> str | None:
        """Return what is wrong with the masks of an exact strategy where they differ from those of an exact loop."""
        if not self._candidate.exact or (self._baseline is not None and not self._baseline.exact):
            return None
        limit = mean_iou_limit([iou for group in self._groups for iou in group.floor])
        if fmean(ious) < limit:
            return f"the job's masks have a mean IoU of {fmean(ious):.4f} with those of the loop, below {limit:.4f}"
        lost = sum(iou < LOST for group in self._groups for iou in group.worst.values())
        explained = sum(iou < LOST for group in self._groups for iou in group.floor)
        allowed = int(TIMES * explained) + (self._candidate.model.dtype != "fp32")
        if lost <= allowed:
            return None
        return f"the job's masks of {lost} objects are not those of the loop (IoU below {LOST}): noise makes {allowed}"


class GroupJob:
    """The work that is timed of one group.

    ious: of each (target, object) of the blocks, between the sides' masks; those of `sequential` stand in for a loop
    that is not timed. worst: the least of them by target and object. floor: the same between the loop's masks and those
    of `sequential` on features that were encoded in other batches. busy, seconds: of the pipeline's blocks, by stage
    and in all. count: the targets of a block.
    """

    def __init__(
        self,
        config: HarnessConfig,
        encoded: EncodedGroup,
        *,
        candidate: Strategy,
        baseline: Strategy | None,
        expected: Predictions | None,
        scratch: Path,
    ) -> None:
        self._config = config
        self._candidate = candidate
        self._encoder = encoder_of(candidate.model, config.encode, batch=config.batch)
        self._baseline = baseline
        self._expected = expected
        self._scratch = Path(tempfile.mkdtemp(prefix="job-", dir=scratch))
        self._group = filed(encoded.group, self._scratch / "pictures")
        self.count = min(BLOCK_TARGETS, len(self._group.targets))
        self.cores: Cores = cores_of(
            replace(config.label, decode="exact"),
            [self._work(self._group.targets)],
            candidate.model,
            candidate,
            cores=available(),
            kept=None,
        )
        self.ious: list[float] = []
        self.worst: dict[tuple[str, int], float] = {}
        self.floor: list[float] = []
        self.busy = dict.fromkeys(STAGES, 0.0)
        self.seconds = 0.0

    @property
    def name(self) -> str:
        return self._group.name

    @property
    def targets(self) -> int:
        return len(self._group.targets)

    @property
    def first(self) -> Turn:
        return self.turn(0, min(self._config.batch, self.targets))

    def turn(self, number: int, count: int) -> Turn:
        """Return the first ``count`` targets, in the order of a turn."""
        start = number % count
        targets = self._group.targets[:count]
        return Turn(work=self._work(targets[start:] + targets[:start]))

    def _work(self, targets: Sequence[Frame]) -> Work:
        (work,) = work_of([replace(self._group, targets=tuple(targets))], self._config.objects, self._scratch)
        return work

    def sides(self, *, paired: bool) -> dict[SideName, ReleasableSide[Turn, Written]]:
        sides: dict[SideName, ReleasableSide[Turn, Written]] = {"candidate": self._pipelined(self._scratch)}
        if paired and self._baseline is not None:
            sides["baseline"] = Loop(self._baseline, scratch=self._scratch)
        return sides

    def _pipelined(self, scratch: Path) -> Pipelined:
        return Pipelined(self._encoder, self._candidate, batch=self._config.batch, cores=self.cores, scratch=scratch)

    def block(self, *, seconds_per_call: float, paired: bool) -> JobBlock:
        return JobBlock(self, self.count)

    def check_baseline(self, outputs: Written) -> None:
        """Leave the masks to the blocks, which have more of them."""

    def compare(self, turn: int, count: int, of_baseline: Written | None, of_candidate: Written) -> None:
        """Compare what the sides wrote in a turn, enter how busy the pipeline was, and remove the masks."""
        self.seconds += of_candidate.seconds
        for name, seconds in of_candidate.busy.items():
            self.busy[name] += seconds
        work, start = of_candidate.work, turn % count
        if of_baseline is not None:
            both = zip(masks_of(work), masks_of(of_baseline.work), strict=True)
            self._enter(work, pair_ious(work.object_ids, both))
            if self._expected is not None and not self.floor:
                self.floor = pair_ious(work.object_ids, self._beside_expected(of_baseline.work, start=start))
            shutil.rmtree(of_baseline.folder)
        elif self._expected is not None:
            self._enter(work, pair_ious(work.object_ids, self._beside_expected(work, start=start)))
        shutil.rmtree(of_candidate.folder)

    def _enter(self, work: Work, ious: Sequence[float]) -> None:
        self.ious += ious
        pairs = ((target.name, identity) for target in work.group.targets for identity in work.object_ids)
        for pair, iou in zip(pairs, ious, strict=True):
            self.worst[pair] = min(iou, self.worst.get(pair, 1.0))

    def _beside_expected(self, work: Work, *, start: int) -> Iterator[tuple[LabelMap, LabelMap]]:
        """Yield each mask that was written beside that of `sequential`. start: of the turn's first target."""
        count = len(work.group.targets)
        for place, labels in enumerate(masks_of(work)):
            assert self._expected is not None
            yield labels, self._expected.label_map((start + place) % count, size=labels.shape).numpy()

    def alone(self) -> tuple[Alone, str | None]:
        """Run the stages one after another on the block's targets, and the pipeline once more.

        Returns what the stages take, and what is wrong where the masks of the two differ in a byte.
        """
        turn = self.turn(0, self.count)
        scratch = Path(tempfile.mkdtemp(prefix="job-", dir=self._scratch.parent))
        try:
            passes = [
                one_after_another(
                    self._encoder,
                    self._candidate,
                    turn.into(scratch / str(number)),
                    batch=self._config.batch,
                    cores=self.cores,
                )
                for number in range(PASSES)
            ]
            alone = sorted(passes, key=lambda one: one.cpu_seconds)[PASSES // 2]
            side = self._pipelined(scratch)
            piped = side.run(turn)
            side.release()
            fault = None
            for target in turn.work.group.targets:
                if piped.work.mask_of(target).read_bytes() != alone.work.mask_of(target).read_bytes():
                    fault = f"the pipeline's mask of {self.name}/{target.name} is not that of its stages in turn"
                    break
            return alone, fault
        finally:
            shutil.rmtree(scratch)

    def close(self) -> None:
        """Remove what is left of the masks; the pictures stay for `alone`, as long as the workload does."""
        for folder in self._scratch.glob(f"{MASKS}*"):
            shutil.rmtree(folder)


class JobBlock:
    """A fixed set of a group's targets, whose masks are compared after each turn."""

    def __init__(self, group: GroupJob, count: int) -> None:
        self._group = group
        self._count = count

    @property
    def targets(self) -> int:
        return self._count

    @property
    def shapes(self) -> Sequence[Turn]:
        return []

    def inputs(self, turn: int) -> Turn:
        return self._group.turn(turn, self._count)

    def check(self, turn: int, of_baseline: Written | None, of_candidate: Written) -> None:
        self._group.compare(turn, self._count, of_baseline, of_candidate)

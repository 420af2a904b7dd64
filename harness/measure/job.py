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
from harness.measure.correctness import Meters
from harness.measure.job_masks import LabelMap, filed, masks_of, mean_iou_limit, pair_ious
from harness.measure.job_sides import MASKS, Loop, Pipelined, Turn, Written
from harness.measure.job_stages import STAGES, Alone, one_after_another
from harness.measure.scenario import Findings, ReleasableSide
from harness.measure.speed import SpeedMeasurement
from harness.options.config import HarnessConfig
from harness.pipeline.cores import Cores, available
from harness.pipeline.meter import NETWORK, bottleneck
from harness.pipeline.plan import Work, work_of
from harness.pipeline.rehearse import cores_of
from harness.result import SideName
from harness.workload.encode import EncodedGroup, Workload, encoder_of
from strategies.base import Strategy
from strategies.vocabulary import Predictions

LEAST_BATCHES = 8
"""A block has so many batches, where the group has; of fewer, most are read before anything is predicted."""
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

    def findings(self, timed: SpeedMeasurement) -> Findings:
        """Return how busy each stage was, what stages take alone, and how far the two sides' masks agree."""
        first = self._groups[0]
        alone, fault = first.alone()
        busy = {name: sum(group.busy[name] for group in self._groups) for name in STAGES}
        seconds = sum(group.seconds for group in self._groups)
        ious = [iou for group in self._groups for iou in group.ious]
        if fault is None and ious:
            fault = self._disagreement(ious)
        of_first = [block for block in timed.blocks if block.group == first.name and block.side == "candidate"]
        targets = sum(block.targets for block in of_first)
        taken = sum(block.seconds for block in of_first) / targets
        cpu_taken = sum(block.cpu_seconds for block in of_first) / targets
        workers = first.cores.workers
        return Findings(
            columns={
                **{
                    f"{name}_busy": busy[name] / (seconds * (1 if name in NETWORK else workers))
                    for name in STAGES
                    if seconds
                },
                "bottleneck": bottleneck(busy, workers=workers) or None,
                "overlap": max(alone.seconds.values()) / alone.targets / taken,
                "job_cpu_ratio": cpu_taken / (alone.cpu_seconds / alone.targets),
                "job_iou_mean": fmean(ious) if ious else None,
                "job_iou_min": min(ious) if ious else None,
            },
            details={
                "threads": first.cores.threads,
                "workers": workers,
                "busy_seconds": busy,
                "seconds_alone": {name: one / alone.targets for name, one in alone.seconds.items()},
                "cpu_seconds_alone": alone.cpu_seconds / alone.targets,
            },
            fault=fault,
        )

    def _disagreement(self, ious: Sequence[float]) -> str | None:
        """Return what is wrong with the masks of an exact strategy where they differ from those of an exact loop."""
        if not self._candidate.exact or (self._baseline is not None and not self._baseline.exact):
            return None
        floors = [iou for group in self._groups for iou in group.floor]
        limit = mean_iou_limit(floors)
        if fmean(ious) >= limit:
            return None
        return f"the job's masks have a mean IoU of {fmean(ious):.4f} with those of the loop, below {limit:.4f}"


class GroupJob:
    """The work that is timed of one group.

    ious: of each (target, object) of the blocks, between the sides' masks. floor: the same between the loop's masks and
    those of `sequential` on features that were encoded in other batches. busy, seconds: of the pipeline's blocks, by
    stage and in all.
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
        self._count = min(config.batch, len(self._group.targets))
        self.cores: Cores = cores_of(
            config.label, [self._work(self._group.targets)], candidate.model, candidate, cores=available(), kept=None
        )
        self.ious: list[float] = []
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
        batches = max(LEAST_BATCHES, int(self._config.timing.block_seconds / max(seconds_per_call, 1e-9)))
        self._count = min(self.targets, batches * self._config.batch)
        return JobBlock(self, self._count)

    def check_baseline(self, outputs: Written) -> None:
        """Measure how far encoding in other batches moves the loop's masks."""
        if self._expected is not None:
            self.floor = pair_ious(outputs.work.object_ids, self._beside_expected(outputs.work, start=0))
        shutil.rmtree(outputs.folder)

    def compare(self, turn: int, count: int, of_baseline: Written | None, of_candidate: Written) -> None:
        """Compare what the sides wrote in a turn, enter how busy the pipeline was, and remove the masks."""
        self.seconds += of_candidate.seconds
        for name, seconds in of_candidate.busy.items():
            self.busy[name] += seconds
        work = of_candidate.work
        if of_baseline is not None:
            both = zip(masks_of(work), masks_of(of_baseline.work), strict=True)
            self.ious += pair_ious(work.object_ids, both)
            shutil.rmtree(of_baseline.folder)
        elif self._expected is not None and not self.ious:
            self.ious = pair_ious(work.object_ids, self._beside_expected(work, start=turn % count))
        shutil.rmtree(of_candidate.folder)

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
        turn = self.turn(0, self._count)
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

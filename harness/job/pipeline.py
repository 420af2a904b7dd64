"""The pipeline: pictures are read, encoded, predicted, enlarged and written at the same time.

One thread drives the network. Workers read the next pictures meanwhile and finish the masks of the last, at most
`AHEAD` batches each way, so that memory does not grow with the number of targets. Nothing waits in a worker for another
worker, so one of them is enough for everything to go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.data.group import Frame
from harness.job.cores import Cores, one_thread
from harness.job.decoding import read_target, side_of
from harness.job.finish import Finished, finish
from harness.job.ledger import Labelled, Ledger
from harness.job.meter import Meter
from harness.job.plan import Work
from harness.job.references import Labels, encoded, read_reference
from strategies.base import Strategy
from strategies.components.encoder import Encoder
from strategies.errors import UserError, out_of_memory
from strategies.vocabulary import Predictions

AHEAD = 2

OnBroken = Callable[[str, str, str], None]
"""A function that is told of a target that is left out: its group, its name or nothing for all of the group, why."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as the network takes it, fp32 ``[3, S, S]``. size: its height and width."""

    pixels: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """A group whose references are being read. palette: that of its masks."""

    work: Work
    references: list[Future[Labels]]
    palette: Future[bytes]


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Targets that are being read; of those that are not wanted the masks are there already."""

    work: Work
    targets: tuple[Frame, ...]
    wanted: frozenset[str]
    pictures: list[Future[Picture]]


class Pipeline:
    """One run over a plan. It enters what is done into the ledger."""

    def __init__(
        self,
        encoder: Encoder,
        strategy: Strategy,
        ledger: Ledger,
        meter: Meter,
        *,
        batch: int,
        decode: str,
        cores: Cores,
        on_broken: OnBroken,
        on_done: Callable[[int], None],
    ) -> None:
        """decode: as in the options. on_done: told how many targets were entered, each time that some were."""
        self._encoder = encoder
        self._model = encoder.model
        self._strategy = strategy
        self._ledger = ledger
        self._meter = meter
        self._batch = batch
        self._side = side_of(self._model, decode)
        self._cores = cores
        self._on_broken = on_broken
        self._on_done = on_done

    def run(self, plan: Sequence[Work]) -> None:
        """Label what is missing. Raises UserError where masks can't be written; targets that can't be read are told."""
        pool = ThreadPoolExecutor(self._cores.workers, thread_name_prefix="worker", initializer=one_thread)
        try:
            self._run(self._submitted(plan, pool), pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(self, coming: Iterator[_Opening | _Batch], pool: ThreadPoolExecutor) -> None:
        ahead: deque[_Opening | _Batch] = deque()
        behind: deque[list[tuple[_Batch, Frame, Future[Finished]]]] = deque()
        broken: set[str] = set()
        palette = b""
        for item in self._kept_ahead(coming, ahead):
            if item.work.group.name in broken:
                continue
            if isinstance(item, _Opening):
                try:
                    references = [future.result() for future in item.references]
                    palette = item.palette.result()
                except UserError as error:
                    broken.add(item.work.group.name)
                    self._on_broken(item.work.group.name, "", str(error))
                    continue
                self._prepare(item.work, references)
                continue
            behind.append(self._predicted(item, palette, pool))
            while len(behind) > AHEAD:
                self._enter(behind.popleft())
        while behind:
            self._enter(behind.popleft())

    def _kept_ahead(
        self, coming: Iterator[_Opening | _Batch], ahead: deque[_Opening | _Batch]
    ) -> Iterator[_Opening | _Batch]:
        """Yield what comes, in order, after the pictures of some further batches have been asked for."""
        for item in coming:
            ahead.append(item)
            if sum(isinstance(one, _Batch) for one in ahead) > AHEAD:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()

    def _submitted(self, plan: Sequence[Work], pool: ThreadPoolExecutor) -> Iterator[_Opening | _Batch]:
        """Yield groups and batches with something missing, as their files begin to be read."""
        for work in plan:
            done = work.done(self._ledger.done(work.group.name))
            batches = [
                (targets, frozenset(target.name for target in targets if target.name not in done))
                for targets in work.batches(self._batch)
            ]
            while batches and not batches[-1][1]:
                batches.pop()
            if not self._strategy.remembers_targets:
                batches = [batch for batch in batches if batch[1]]
            if not batches:
                continue
            references = [pool.submit(self._read_reference, work, frame) for frame in work.group.references]
            yield _Opening(work=work, references=references, palette=pool.submit(work.palette))
            for targets, wanted in batches:
                pictures = [pool.submit(self._read_target, target) for target in targets]
                yield _Batch(work=work, targets=targets, wanted=wanted, pictures=pictures)

    def _read_target(self, target: Frame) -> Picture:
        with self._meter.stage("read"):
            image, size = read_target(target, side=self._side)
            return Picture(pixels=self._model.pixels(image), size=size)

    def _read_reference(self, work: Work, frame: Frame) -> Labels:
        with self._meter.stage("read"):
            return read_reference(work, frame, self._model)

    def _prepare(self, work: Work, read: Sequence[Labels]) -> None:
        with self._meter.stage("encode"):
            references = encoded(work, read, self._encoder)
        with self._meter.stage("predict"):
            self._strategy.prepare(references)

    def _predicted(
        self, batch: _Batch, palette: bytes, pool: ThreadPoolExecutor
    ) -> list[tuple[_Batch, Frame, Future[Finished]]]:
        """Predict a batch and let the masks that are wanted be made of it.

        An empty picture stands in for a target that can't be read, so that the others' masks are to the bit what they
        would be with it; where targets are remembered it would be remembered too, and is left out.
        """
        pictures = self._pictures(batch)
        if not pictures or (batch.wanted.isdisjoint(pictures) and not self._strategy.remembers_targets):
            return []
        names = [
            target.name for target in batch.targets if target.name in pictures or not self._strategy.remembers_targets
        ]
        empty = torch.zeros_like(next(iter(pictures.values())).pixels)
        pixels = torch.stack([pictures[name].pixels if name in pictures else empty for name in names])
        if self._model.device.type == "cuda":
            pixels = pixels.pin_memory()
        predictions = self._predictions(pixels)
        futures = []
        for target in batch.targets:
            if target.name in batch.wanted and target.name in pictures:
                at = names.index(target.name)
                one = _copied(predictions[at : at + 1])
                size = pictures[target.name].size
                future = pool.submit(finish, batch.work, target, one, size=size, palette=palette, meter=self._meter)
                futures.append((batch, target, future))
        return futures

    def _predictions(self, pixels: Tensor) -> Predictions:
        """Predict a batch; where memory is not enough for all of it, its halves."""
        try:
            with self._meter.stage("encode"):
                features = self._encoder(pixels)
            with self._meter.stage("predict"):
                return self._strategy.predict(features).cpu()
        except Exception as error:
            if not out_of_memory(error) or len(pixels) == 1:
                raise
        # What failed is freed here, when its traceback is gone.
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(pixels) // 2
        self._encoder.smaller(half)
        return Predictions.concatenate([self._predictions(pixels[:half]), self._predictions(pixels[half:])])

    def _pictures(self, batch: _Batch) -> dict[str, Picture]:
        """Return those that could be read, by their targets' names."""
        found = {}
        for target, future in zip(batch.targets, batch.pictures, strict=True):
            try:
                found[target.name] = future.result()
            except UserError as error:
                if target.name in batch.wanted:
                    self._on_broken(batch.work.group.name, target.name, str(error))
        return found

    def _enter(self, futures: Sequence[tuple[_Batch, Frame, Future[Finished]]]) -> None:
        rows: list[Labelled] = []
        for batch, target, future in futures:
            finished = future.result()
            rows += finished.rows
            if finished.unscored is not None:
                self._on_broken(batch.work.group.name, target.name, f"it is not scored: {finished.unscored}")
        self._ledger.add(rows)
        self._on_done(len(futures))


def _copied(predictions: Predictions) -> Predictions:
    """Return predictions in memory of their own, so that one target does not keep its batch in memory."""
    return replace(
        predictions,
        logits=predictions.logits.clone(),
        object_scores=predictions.object_scores.clone(),
        ious=predictions.ious.clone(),
    )

"""The pipeline: pictures are read, encoded, predicted, enlarged and written at the same time.

One thread drives the network. Workers read the next pictures meanwhile and finish the masks of the last, at most
`AHEAD` batches each way, so that memory does not grow with the number of targets. Nothing waits in a worker for another
worker, so one of them is enough for everything to go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import torch

from harness.data.group import Frame
from harness.pipeline.cores import Cores, one_thread
from harness.pipeline.finish import Finished, finish
from harness.pipeline.ledger import Labelled
from harness.pipeline.meter import Meter
from harness.pipeline.plan import Chunk, Work
from harness.pipeline.references import Labels
from harness.pipeline.stages import Picture, Stages
from strategies.base import Strategy
from strategies.components.encoder import Encoder
from strategies.errors import UserError
from strategies.vocabulary import Predictions

AHEAD = 2

OnBroken = Callable[[str, str, str], None]
"""A function that is told of a target that is left out: its group, its name or nothing for all of the group, why."""
OnLabelled = Callable[[Sequence[Labelled], int], None]
"""A function that is told, batch by batch, of targets whose masks are on disk: their rows, and how many they are."""


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
    """One run over chunks of a job. What is done is told, a batch at a time."""

    def __init__(
        self,
        encoder: Encoder,
        strategy: Strategy,
        meter: Meter,
        *,
        decode: str,
        cores: Cores,
        on_broken: OnBroken,
        on_labelled: OnLabelled,
    ) -> None:
        """decode: how pictures are read, ``label.decode`` of the options."""
        self._model = encoder.model
        self._strategy = strategy
        self._meter = meter
        self._stages = Stages(encoder, strategy, meter, decode=decode)
        self._cores = cores
        self._on_broken = on_broken
        self._on_labelled = on_labelled

    def run(self, chunks: Iterable[Chunk | None]) -> None:
        """Label what is missing from the chunks, of which those of a group follow each other.

        None among them means that nothing more is known yet: what has come is finished before the next is asked for.
        Raises UserError where masks can't be written; targets that can't be read are told.
        """
        pool = ThreadPoolExecutor(self._cores.workers, thread_name_prefix="worker", initializer=one_thread)
        try:
            self._run(self._submitted(chunks, pool), pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(self, coming: Iterator[_Opening | _Batch | None], pool: ThreadPoolExecutor) -> None:
        behind: deque[list[tuple[_Batch, Frame, Future[Finished]]]] = deque()
        broken: set[str] = set()
        palette = b""
        for item in self._kept_ahead(coming):
            if item is None:
                while behind:
                    self._tell(behind.popleft())
                continue
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
                self._stages.prepare(item.work, references)
                continue
            behind.append(self._predicted(item, palette, pool))
            while len(behind) > AHEAD:
                self._tell(behind.popleft())

    def _kept_ahead(self, coming: Iterator[_Opening | _Batch | None]) -> Iterator[_Opening | _Batch | None]:
        """Yield what comes, in order, after the pictures of some further batches have been asked for."""
        ahead: deque[_Opening | _Batch] = deque()
        for item in chain(coming, [None]):
            if item is None:
                yield from ahead
                ahead.clear()
                yield None
                continue
            ahead.append(item)
            if sum(isinstance(one, _Batch) for one in ahead) > AHEAD:
                yield ahead.popleft()

    def _submitted(
        self, chunks: Iterable[Chunk | None], pool: ThreadPoolExecutor
    ) -> Iterator[_Opening | _Batch | None]:
        """Yield groups, each as it changes, and batches, as their files begin to be read."""
        opened = None
        for chunk in chunks:
            if chunk is None:
                yield None
                continue
            work = chunk.work
            if chunk.remembered or work.group.name != opened:
                opened = work.group.name
                references = [pool.submit(self._stages.read_reference, work, frame) for frame in work.group.references]
                yield _Opening(work=work, references=references, palette=pool.submit(work.palette))
            for targets in chunk.batches:
                pictures = [pool.submit(self._stages.read_target, target) for target in targets]
                wanted = chunk.wanted.intersection(target.name for target in targets)
                yield _Batch(work=work, targets=targets, wanted=wanted, pictures=pictures)

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
        predictions = self._stages.predict(pixels)
        futures = []
        for target in batch.targets:
            if target.name in batch.wanted and target.name in pictures:
                at = names.index(target.name)
                one = _copied(predictions[at : at + 1])
                size = pictures[target.name].size
                future = pool.submit(finish, batch.work, target, one, size=size, palette=palette, meter=self._meter)
                futures.append((batch, target, future))
        return futures

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

    def _tell(self, futures: Sequence[tuple[_Batch, Frame, Future[Finished]]]) -> None:
        rows: list[Labelled] = []
        for batch, target, future in futures:
            finished = future.result()
            rows += finished.rows
            if finished.unscored is not None:
                self._on_broken(batch.work.group.name, target.name, f"it is not scored: {finished.unscored}")
        self._on_labelled(rows, len(futures))


def _copied(predictions: Predictions) -> Predictions:
    """Return predictions in memory of their own, so that one target does not keep its batch in memory."""
    return replace(
        predictions,
        logits=predictions.logits.clone(),
        object_scores=predictions.object_scores.clone(),
        ious=predictions.ious.clone(),
    )

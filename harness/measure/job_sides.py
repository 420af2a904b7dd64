"""The two sides of a job: the pipeline, and the loop around the session that users write today."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from harness.pipeline.cores import Cores, computing_with
from harness.pipeline.ledger import Ledger
from harness.pipeline.meter import Meter
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.plan import Chunk, Work
from strategies.base import Strategy
from strategies.components.encoder import Encoder
from strategies.errors import UserError

MASKS = "masks-"
"""How the names of folders of masks begin."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A group with the targets that are to be labelled in one turn."""

    work: Work

    def into(self, folder: Path) -> Work:
        """Return the work with its masks in a folder."""
        return replace(self.work, folder=folder / self.work.group.name)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a side wrote into a folder. busy: seconds by stage, where the side knows them. seconds: of all of it."""

    work: Work
    folder: Path
    busy: dict[str, float]
    seconds: float


class _JobSide:
    """What both sides have: a strategy, and a folder of masks for each run."""

    def __init__(self, strategy: Strategy, *, scratch: Path) -> None:
        self._strategy = strategy
        self._scratch = scratch
        self._made: list[Path] = []

    def ready(self) -> None:
        """Remove what earlier runs left; a job itself begins with its references."""
        for folder in self._made:
            shutil.rmtree(folder, ignore_errors=True)  # One that was compared is gone already.
        self._made.clear()

    def release(self) -> None:
        self._strategy.release()

    def _new_folder(self) -> Path:
        self._made.append(Path(tempfile.mkdtemp(prefix=MASKS, dir=self._scratch)))
        return self._made[-1]


class Loop(_JobSide):
    """Pictures one after another in one thread: read, encoded, predicted, enlarged, written.

    This is what a user writes around HF's session, and what the README of earlier versions gave them. torch has all
    threads.
    """

    def run(self, turn: Turn) -> Written:
        began = time.perf_counter()
        folder = self._new_folder()
        work, model = turn.into(folder), self._strategy.model
        references = work.group.references
        labels = [frame.labels() for frame in references if frame.labels is not None]
        self._strategy.prepare(model.references([frame.image() for frame in references], labels, work.object_ids))
        palette = work.palette()
        work.folder.mkdir()
        for target in work.group.targets:
            image = target.image()
            predictions = self._strategy.predict(model.encode([image])).cpu()
            mask = Image.fromarray(predictions.label_map(0, size=image.shape[:2]).numpy().astype(np.uint8))
            mask.putpalette(palette)
            mask.save(work.mask_of(target))
        return Written(work=work, folder=folder, busy={}, seconds=time.perf_counter() - began)


class Pipelined(_JobSide):
    """The pipeline of `python -m harness.label`, in an empty folder each time."""

    def __init__(self, encoder: Encoder, strategy: Strategy, *, batch: int, cores: Cores, scratch: Path) -> None:
        super().__init__(strategy, scratch=scratch)
        self._encoder = encoder
        self._batch = batch
        self._cores = cores

    def run(self, turn: Turn) -> Written:
        began = time.perf_counter()
        folder = self._new_folder()
        work, meter = turn.into(folder), Meter(workers=self._cores.workers)
        chunk = Chunk.of(work, batch=self._batch, remembered=self._strategy.remembers_targets)
        with Ledger(folder) as ledger, computing_with(self._cores.threads):
            Pipeline(
                self._encoder,
                self._strategy,
                meter,
                decode="exact",
                cores=self._cores,
                on_broken=_refuse,
                on_labelled=lambda rows, _: ledger.add(rows),
            ).run([chunk])
        return Written(work=work, folder=folder, busy=meter.busy(), seconds=time.perf_counter() - began)


def _refuse(group: str, target: str, why: str) -> None:
    raise UserError(f"{group}{target and f'/{target}'} can't be labelled: {why}")

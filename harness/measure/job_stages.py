"""The stages of a job one after another, which is what the pipeline has to beat: it runs them at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from harness.pipeline.cores import Cores, computing_with, one_thread
from harness.pipeline.finish import finish
from harness.pipeline.meter import AROUND, NETWORK, Meter
from harness.pipeline.plan import Work
from harness.pipeline.stages import Stages
from strategies.base import Strategy
from strategies.components.encoder import Encoder

FINISHING = tuple(name for name in AROUND if name != "read")


@dataclass(frozen=True, kw_only=True)
class Alone:
    """What a pass took. seconds: wall clock by stage. cpu_seconds: of all threads, for all stages together."""

    work: Work
    targets: int
    seconds: dict[str, float]
    cpu_seconds: float


def one_after_another(encoder: Encoder, strategy: Strategy, work: Work, *, batch: int, cores: Cores) -> Alone:
    """Label a group batch by batch, with one stage at a time, which has the threads that it has in the pipeline."""
    meter = Meter(workers=cores.workers)
    stages = Stages(encoder, strategy, meter, decode="exact")
    wall = dict.fromkeys(("read", "finish"), 0.0)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        wall[name] += time.perf_counter() - began

    began = time.process_time()
    palette = work.palette()
    with ThreadPoolExecutor(cores.workers, initializer=one_thread) as pool, computing_with(cores.threads):
        with timed("read"):
            references = list(pool.map(lambda frame: stages.read_reference(work, frame), work.group.references))
        stages.prepare(work, references)
        for targets in work.batches(batch):
            with timed("read"):
                pictures = list(pool.map(stages.read_target, targets))
            predictions = stages.predict(torch.stack([picture.pixels for picture in pictures]))
            with timed("finish"):
                finished = [
                    pool.submit(
                        finish,
                        work,
                        target,
                        predictions[at : at + 1],
                        size=pictures[at].size,
                        palette=palette,
                        meter=meter,
                    )
                    for at, target in enumerate(targets)
                ]
                for future in finished:
                    future.result()
    cpu_seconds = time.process_time() - began
    strategy.release()
    busy = meter.busy()
    finishing = sum(busy[name] for name in FINISHING)
    seconds = {
        "read": wall["read"],
        **{name: busy[name] for name in NETWORK},
        **{name: wall["finish"] * busy[name] / finishing for name in FINISHING},
    }
    return Alone(work=work, targets=len(work.group.targets), seconds=seconds, cpu_seconds=cpu_seconds)

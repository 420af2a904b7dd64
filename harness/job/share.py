"""A job that several processes share, whichever engine runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from harness.job.actor import Order
from harness.job.bar import JobBar
from harness.job.dispatch import Dispatcher
from harness.job.engine import Engine
from harness.job.local_engine import LocalEngine
from harness.job.ray_engine import RayEngine
from harness.options.config import HarnessConfig, LabelConfig
from harness.pipeline.cores import Cores
from harness.pipeline.meter import Meter
from harness.pipeline.pipeline import OnLabelled
from harness.pipeline.plan import Chunk


def engine_of(options: LabelConfig, device: torch.device, *, said: Callable[[str], None]) -> Engine | None:
    """Return what runs the processes that share a job; None where this one does all of it."""
    if options.engine == "ray":
        return RayEngine(options, device, said=said)
    engine = LocalEngine(options, device)
    return engine if engine.shares.actors > 1 else None


def share(
    chunks: Sequence[Chunk],
    engine: Engine,
    config: HarnessConfig,
    cores: Cores,
    meter: Meter,
    bar: JobBar,
    *,
    on_ready: Callable[[], None],
    on_labelled: OnLabelled,
) -> None:
    """Have chunks labelled by the engine's actors, each with those cores, and end them; no network is needed here.

    on_ready: told when the first of them can begin. Raises what `Dispatcher.run` does.
    """
    if config.device == "cuda":
        torch.cuda.empty_cache()
    began = time.monotonic()

    def ready() -> None:
        bar.say(f"the first of {engine.shares.actors} processes is ready after {time.monotonic() - began:.1f} s")
        on_ready()

    order = Order(config=config, cores=cores, folder=Path.cwd())
    Dispatcher(
        engine, order, meter, on_ready=ready, on_labelled=on_labelled, on_broken=bar.break_off, said=bar.say
    ).run(chunks)
    engine.close()

"""A rehearsal with one target, which tells how long a target takes in the network and around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch

from harness.data.group import Frame
from harness.options.config import LabelConfig
from harness.pipeline.cores import Cores, computing_with, shared
from harness.pipeline.decoding import read_target, side_of
from harness.pipeline.finish import as_png
from harness.pipeline.plan import Work
from harness.pipeline.references import references_of
from strategies.base import Strategy
from strategies.errors import UserError
from strategies.models.tracker import Tracker


def cores_of(
    options: LabelConfig, plan: Sequence[Work], model: Tracker, strategy: Strategy, *, cores: int, kept: int | None
) -> Cores:
    """Return how a process shares its cores.

    kept: the network's threads in the job's earlier runs, which are kept because other threads may give other bits.
    On a GPU the network takes one thread of the CPU, and workers take every core. OMP_NUM_THREADS, where it is set,
    is the most that the network gets.
    """
    if model.device.type != "cpu":
        found = Cores(threads=1, workers=cores)
    elif kept is not None or options.threads is not None or min(cores, torch.get_num_threads()) == 1:
        threads = kept or options.threads or 1
        found = Cores(threads=threads, workers=max(cores - threads, 1))
    else:
        found = _rehearsed(options, plan, model, strategy, cores=min(cores, torch.get_num_threads()))
    return found if options.workers is None else Cores(threads=found.threads, workers=options.workers)


def _rehearsed(options: LabelConfig, plan: Sequence[Work], model: Tracker, strategy: Strategy, *, cores: int) -> Cores:
    """Take the first target that can be read; where there is none, the sharing does not matter."""
    for work in plan:
        target = _readable(work, side=side_of(model, options.decode))
        if target is None:
            continue
        try:
            return _on(work, target, model, strategy, cores=cores, decode=options.decode)
        except UserError:  # The job itself tells what is broken.
            continue
    return Cores(threads=cores, workers=1)


def _readable(work: Work, *, side: int | None) -> Frame | None:
    """Return a group's first target that can be read."""
    for target in work.group.targets:
        with suppress(UserError):
            read_target(target, side=side)
            return target
    return None


def _on(work: Work, target: Frame, model: Tracker, strategy: Strategy, *, cores: int, decode: str) -> Cores:
    with computing_with(1):
        strategy.prepare(references_of(work, model))
        side = side_of(model, decode)
        image, size = read_target(target, side=side)
        predicted = strategy.predict(model.encode([image])).cpu()  # It warms up, and what it makes is enlarged below.
        network = _seconds(lambda: strategy.predict(model.encode([image])))
        around = _seconds(lambda: model.pixels(read_target(target, side=side)[0])) + _seconds(
            lambda: as_png(predicted.label_map(0, size=size, dtype=torch.uint8).numpy(), work.palette())
        )
        strategy.release()
    return shared(cores, network=network, around=around)


def _seconds(run: Callable[[], object]) -> float:
    """Return the processor time of this thread, which a busy neighbour does not lengthen."""
    began = time.thread_time()
    run()
    return time.thread_time() - began

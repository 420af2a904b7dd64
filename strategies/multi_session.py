"""multi_session: B independent HF sessions, which predict at the same time in up to B threads.

How: each session is conditioned on the references and has one slot, like that of `sequential`. Target i of a batch goes
to session i mod B. While a batch runs, each session has a thread, and on a GPU a CUDA stream of its own, so that the
small kernels of several targets can run side by side. Python's lock is the limit: one thread launches at a time.

Threads: such a thread enters inference mode and autocast itself, as these are each thread's own. On a CPU the cores are
shared out, so that B threads with a full set of helpers each do not fight for them: while a batch runs, an operation in
one of these threads uses cores / B of them. The number is the process's own before and after. A thread that had helpers
ends with the batch, and one target at a time is predicted in the caller's thread, as helpers that are left slow all
that the process computes (DESIGN section 3, trap 17). On a GPU a thread and its stream stay together, and groups reuse
the streams: cuBLAS keeps 32 MiB for each pair of a thread and a stream that ever met. What an interrupt left to the
threads has ended before the next batch begins, because sessions serve one target at a time.

Costs: time = T * O forward passes of batch one over R * (h*w + C/64) memory tokens, min(B, T) passes at a time; to
prepare, B * R * O conditioning passes, one after another. Memory = B * (R * O * 8.75 MB + 215 MB) at 1024 px, in
proportion to h*w: B banks (outputs and masks), and the activations of B targets, fp32 (on a GPU in B pools of the
allocator, one for each stream).
From: the first remedy for "the GPU is half idle" (DESIGN section 1). Exact: sessions know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

from strategies.base import Strategy
from strategies.components.cuda_workspaces import free_workspaces
from strategies.errors import UserError, out_of_memory
from strategies.models.tracker import Tracker
from strategies.session import CandidateWatch, TargetSession
from strategies.vocabulary import Predictions, References, VisionFeatures


class MultiSession(Strategy):
    """Sessions side by side; see the module's docstring.

    sessions: B, the bound of memory: all are made when a group is prepared.
    """

    def __init__(self, model: Tracker, *, sessions: int = 4) -> None:
        super().__init__(model)
        if sessions < 1:
            raise UserError(f"sessions={sessions} must be at least 1")
        self.sessions = sessions
        self._streams: list[torch.cuda.Stream | None] = []
        self._lanes: list[_Lane] = []

    def _prepare(self, references: References) -> None:
        if not self._streams:
            self._streams = [_new_stream(self.model.device) for _ in range(self.sessions)]
        for fitted, stream in enumerate(self._streams):
            try:
                self._lanes.append(_Lane(self.model, references, stream))
            except Exception as error:
                self._release()
                if not out_of_memory(error):
                    raise
                raise torch.OutOfMemoryError(
                    f"of sessions={self.sessions} only {fitted} fit into memory, with a bank of {len(references)} "
                    f"references and {len(references.object_ids)} objects each"
                ) from error

    def _predict(self, targets: VisionFeatures) -> Predictions:
        for lane in self._lanes:
            lane.join(end_thread=True)  # after a batch that was interrupted; else there is nothing to wait for
        lanes = self._lanes[: len(targets)]
        shares = [[targets[i : i + 1] for i in range(first, len(targets), len(lanes))] for first in range(len(lanes))]
        try:
            with CandidateWatch(self.model) as watch:
                masks = self._alone(shares[0], watch) if len(lanes) == 1 else self._together(lanes, shares, watch)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise torch.OutOfMemoryError(
                f"memory ran out over the targets, with {len(lanes)} of sessions={self.sessions} at work, although the "
                "banks of all fit"
            ) from error
        return Predictions.concatenate([masks[i % len(lanes)][i // len(lanes)] for i in range(len(targets))])

    def _alone(self, targets: list[VisionFeatures], watch: CandidateWatch) -> list[list[Predictions]]:
        return [self._lanes[0].predict(targets, watch)]

    def _together(
        self, lanes: list[_Lane], shares: list[list[VisionFeatures]], watch: CandidateWatch
    ) -> list[list[Predictions]]:
        with _cores_shared_by(len(lanes), self.model) as cores:
            for lane in lanes:
                lane.fork()
            running = [lane.submit(share, watch, cores) for lane, share in zip(lanes, shares, strict=True)]
            for lane in lanes:  # all of them, also where one fails: they use the watch and their sessions
                lane.join(end_thread=cores is not None and cores > 1)
        errors = [error for future in running if (error := future.exception()) is not None]
        if errors:
            raise next(filter(out_of_memory, errors), errors[0])
        return [future.result() for future in running]

    def _release(self) -> None:
        if not self._lanes:
            return
        for lane in self._lanes:
            lane.close()
        self._lanes = []
        free_workspaces(self.model.device)


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None


class _Lane:
    """A session with a thread of its own, which on a GPU computes on one stream."""

    def __init__(self, model: Tracker, references: References, stream: torch.cuda.Stream | None) -> None:
        self._model = model
        self._session = TargetSession(model, references)
        self._stream = stream
        self._thread = _new_thread()
        self._running: Future[list[Predictions]] | None = None

    def predict(self, targets: list[VisionFeatures], watch: CandidateWatch) -> list[Predictions]:
        """Predict the masks of the targets, one after another, in the calling thread and on its stream."""
        return [self._session.predict(target, watch) for target in targets]

    def fork(self) -> None:
        """Let this session's stream wait for what the caller did before."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._model.device))

    def submit(
        self, targets: list[VisionFeatures], watch: CandidateWatch, cores: int | None
    ) -> Future[list[Predictions]]:
        """Have the lane's thread predict the masks of the targets."""
        self._running = self._thread.submit(self._predict_here, targets, watch, cores)
        return self._running

    def _predict_here(
        self, targets: list[VisionFeatures], watch: CandidateWatch, cores: int | None
    ) -> list[Predictions]:
        if cores is not None:
            torch.set_num_threads(cores)
        with self._model.computing(), torch.cuda.stream(self._stream):
            return self.predict(targets, watch)

    def join(self, *, end_thread: bool) -> None:
        """Wait for the thread, if it was given anything, and let what the caller does next wait for its stream.

        end_thread: whether the thread ends, and with it its helpers; the next batch begins another.
        """
        if self._running is None:
            return
        wait([self._running])
        if self._stream is not None:
            torch.cuda.current_stream(self._model.device).wait_stream(self._stream)
        if end_thread:
            self.close()
            self._thread = _new_thread()
        self._running = None

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def _new_thread() -> ThreadPoolExecutor:
    """Return what starts a thread with its first work."""
    return ThreadPoolExecutor(1, thread_name_prefix="multi_session")


@contextmanager
def _cores_shared_by(threads: int, model: Tracker) -> Iterator[int | None]:
    """Return how many cores each of so many threads may use where the model is on the CPU, else None.

    torch keeps the number for each thread, and its matrix library for the process, so it is put back at the end.
    """
    if model.device.type != "cpu":
        yield None
        return
    all_cores = torch.get_num_threads()
    try:
        yield max(1, all_cores // threads)
    finally:
        torch.set_num_threads(all_cores)

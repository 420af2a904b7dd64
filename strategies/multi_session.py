"""multi_session: B independent HF sessions, driven by a pool of B threads.

How: each session is conditioned on the references and has one slot, like that of `sequential`. Target i of a batch goes
to session i mod B. Each session has a thread, and on a GPU a CUDA stream of its own, so that the small kernels of
several targets can run side by side. Python's lock is the limit: one thread launches at a time.

Threads: a pool thread enters inference mode and autocast itself, as these are each thread's own. On a CPU the cores are
shared out, so that B threads with a full set of helpers each do not fight for them: while a batch runs, an operation in
a pool thread uses cores / B of them. The number is the process's own before and after.

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
from strategies.errors import UserError, out_of_memory
from strategies.models.tracker import Tracker
from strategies.session import CandidateWatch, TargetSession
from strategies.vocabulary import Predictions, References, VisionFeatures


class MultiSession(Strategy):
    """A pool of sessions; see the module's docstring.

    sessions: B, the bound of memory: all are made when a group is prepared.
    """

    _pool: ThreadPoolExecutor | None = None

    def __init__(self, model: Tracker, *, sessions: int = 4) -> None:
        super().__init__(model)
        if sessions < 1:
            raise UserError(f"sessions={sessions} must be at least 1")
        self.sessions = sessions
        self._sessions: list[_StreamedSession] = []

    def _prepare(self, references: References) -> None:
        for fitted in range(self.sessions):
            try:
                self._sessions.append(_StreamedSession(self.model, references))
            except Exception as error:
                self._sessions.clear()
                if not out_of_memory(error):
                    raise
                raise torch.OutOfMemoryError(
                    f"of sessions={self.sessions} only {fitted} fit into memory, with a bank of {len(references)} "
                    f"references and {len(references.object_ids)} objects each"
                ) from error
        self._pool = ThreadPoolExecutor(self.sessions, thread_name_prefix="multi_session")

    def _predict(self, targets: VisionFeatures) -> Predictions:
        assert self._pool is not None
        sessions = self._sessions[: len(targets)]
        shares = [
            [targets[i : i + 1] for i in range(first, len(targets), len(sessions))] for first in range(len(sessions))
        ]
        with CandidateWatch(self.model) as watch, _cores_shared_by(len(sessions), self.model) as cores:
            for session in sessions:
                session.fork()
            running = [
                self._pool.submit(session.predict, share, watch, cores)
                for session, share in zip(sessions, shares, strict=True)
            ]
            wait(running)  # all of them, also where one fails: they use the watch and their sessions
            for session in sessions:
                session.join()
        masks = self._results(running)
        return Predictions.concatenate([masks[i % len(sessions)][i // len(sessions)] for i in range(len(targets))])

    def _results(self, done: list[Future[list[Predictions]]]) -> list[list[Predictions]]:
        for future in done:
            if (error := future.exception()) is not None and out_of_memory(error):
                raise torch.OutOfMemoryError(
                    f"{len(done)} sessions at a time ran out of memory over their targets, although the banks of all "
                    f"sessions={self.sessions} fit"
                ) from error
        return [future.result() for future in done]

    def _release(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._sessions = []


class _StreamedSession:
    """A session with, on a GPU, a stream of its own."""

    def __init__(self, model: Tracker, references: References) -> None:
        self._model = model
        self._session = TargetSession(model, references)
        self._stream = torch.cuda.Stream(model.device) if model.device.type == "cuda" else None

    def fork(self) -> None:
        """Let this session's stream wait for what the caller did before."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._model.device))

    def predict(self, targets: list[VisionFeatures], watch: CandidateWatch, cores: int | None) -> list[Predictions]:
        """Predict the masks of the targets, one after another; this runs in a pool thread."""
        if cores is not None:
            torch.set_num_threads(cores)
        with self._model.computing(), torch.cuda.stream(self._stream):
            return [self._session.predict(target, watch) for target in targets]

    def join(self) -> None:
        """Let what the caller does next wait for this session's stream."""
        if self._stream is not None:
            torch.cuda.current_stream(self._model.device).wait_stream(self._stream)


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

"""What `multi_session` does that others do not: sessions run at the same time.

That it equals `sequential` is in `ladder/`, what all strategies promise in test_strategy_interface.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strategies import MultiSession, Sam2, Sequential, UserError
from strategies.models.sam2_session import Sam2Session
from tests.support.harness_runs import wait_for
from tests.support.models import Pictures, assert_same_masks, masks_of
from tests.support.sessions import references_of


def test_each_session_has_a_bank_of_its_own_and_no_more_are_made_than_asked_for(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Sam2Session] = []
    new_session = model.new_session
    monkeypatch.setattr(model, "new_session", lambda *, frames: made.append(new_session(frames=frames)) or made[-1])
    with MultiSession(model, sessions=3) as strategy:
        strategy.prepare(references_of(model, pictures))
        strategy.predict(pictures.targets)
        assert len(made) == 3
        banks = {frame["maskmem_features"].data_ptr() for session in made for frame in conditioning_outputs(session)}
        assert len(banks) == 3 * 2 * 2


def conditioning_outputs(session: Sam2Session) -> list[dict[str, Tensor]]:
    return [
        frame for outputs in session.hf.output_dict_per_obj.values() for frame in outputs["cond_frame_outputs"].values()
    ]


def pool_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("multi_session")}


@contextmanager
def before_each_pass(model: Sam2, act: Callable[[], object]) -> Iterator[None]:
    """Act before memory attention runs for a target and an object, in the thread where it does."""

    def hook(_module: nn.Module, _inputs: tuple[()]) -> None:
        act()

    handle = model.network.memory_attention.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_sessions_run_at_the_same_time_and_do_not_mix_up_their_results(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    expected = masks_of(Sequential(model), references, pictures.targets)
    assert expected.picks.unique(dim=0).shape[0] > 1
    meeting = threading.Barrier(3, timeout=60)  # broken, and an error in all threads, unless three arrive together
    with MultiSession(model, sessions=3) as strategy, before_each_pass(model, meeting.wait):
        strategy.prepare(references)
        assert_same_masks(strategy.predict(pictures.targets), expected)


@settings(deadline=None, derandomize=True, max_examples=6)
@given(sessions=st.integers(1, 4), batches=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_no_more_threads_run_than_sessions_or_targets_and_none_is_left(
    model: Sam2, pictures: Pictures, sessions: int, batches: list[int]
) -> None:
    ran: set[int] = set()
    with before_each_pass(model, lambda: ran.add(threading.get_ident())):
        strategy = MultiSession(model, sessions=sessions)
        strategy.prepare(references_of(model, pictures, objects=1))
        for batch in batches:
            ran.clear()
            strategy.predict(pictures.targets[:batch])
            assert len(pool_threads()) <= sessions
            if min(sessions, batch) == 1:
                assert ran == {threading.get_ident()}, "one thread is enough, and the caller's is there"
            else:
                assert len(ran) == min(sessions, batch)
                assert threading.get_ident() not in ran
        strategy.release()
        assert not pool_threads()


@pytest.mark.parametrize("targets", [1, 4])
def test_a_batch_leaves_no_helpers_behind_that_would_slow_what_the_process_computes_next(
    model: Sam2, pictures: Pictures, targets: int
) -> None:
    with cores(4), MultiSession(model, sessions=2) as strategy:
        strategy.prepare(references_of(model, pictures))  # The caller's helpers begin here.
        before = helpers()
        strategy.predict(pictures.targets[:targets])
        wait_for(lambda: helpers() == before, seconds=10)


def helpers() -> int:
    """How many threads this process has for the system, of which Python knows some."""
    return len(list(Path("/proc/self/task").iterdir()))


@contextmanager
def cores(number: int) -> Iterator[None]:
    """Let torch believe in so many cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_comes_out_as_it_was_and_the_group_goes_on(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    error = LookupError("in the middle of a target")
    passes = iter(range(100))

    def fail_once() -> None:
        if next(passes) == 3:  # of 8: four targets, two objects
            raise error

    with MultiSession(model, sessions=2) as strategy:
        strategy.prepare(references)
        with before_each_pass(model, fail_once), pytest.raises(LookupError) as caught:
            strategy.predict(pictures.targets[:4])
        assert caught.value is error
        masks = strategy.predict(pictures.targets[:4])
    assert_same_masks(masks, masks_of(Sequential(model), references, pictures.targets[:4]))


def test_too_little_memory_in_any_thread_is_what_comes_out(model: Sam2, pictures: Pictures) -> None:
    def fail() -> None:
        first = next(thread for thread in threading.enumerate() if thread in pool_threads())
        raise LookupError if threading.current_thread() is first else torch.OutOfMemoryError

    with MultiSession(model, sessions=2) as strategy, before_each_pass(model, fail):
        strategy.prepare(references_of(model, pictures))
        with pytest.raises(torch.OutOfMemoryError):
            strategy.predict(pictures.targets[:2])


@pytest.mark.parametrize("targets", [1, 4])
def test_what_an_interrupted_batch_left_to_the_threads_ends_before_the_next_begins(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, targets: int
) -> None:
    references = references_of(model, pictures)
    expected = masks_of(Sequential(model), references, pictures.targets[:targets])
    goes_on, ended, before = threading.Event(), [], pool_threads()

    def pause() -> None:
        if not ended:
            assert goes_on.wait(60)

    def interrupt(running: list[Future[object]]) -> None:
        before.update(pool_threads())
        monkeypatch.undo()
        running[0].add_done_callback(lambda _: ended.append("the interrupted batch"))
        raise KeyboardInterrupt

    with MultiSession(model, sessions=2) as strategy, before_each_pass(model, pause):
        strategy.prepare(references)
        monkeypatch.setattr("strategies.multi_session.wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            strategy.predict(pictures.targets)
        threading.Timer(0.2, goes_on.set).start()
        with before_each_pass(model, lambda: ended.append("" if threading.current_thread() in before else "the next")):
            masks = strategy.predict(pictures.targets[:targets])
    assert next(filter(None, ended)) == "the interrupted batch"
    assert_same_masks(masks, expected)


class Seen(Exception):  # noqa: N818 - not an error
    """Ends a test's forward pass."""


SHORT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", SHORT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_for_the_banks_says_how_many_fit(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = []
    new_session = model.new_session

    def until_full(*, frames: int) -> Sam2Session:
        if len(made) == 2:
            raise error
        made.append(frames)
        return new_session(frames=frames)

    monkeypatch.setattr(model, "new_session", until_full)
    strategy = MultiSession(model, sessions=5)
    with pytest.raises(torch.OutOfMemoryError, match=r"of sessions=5 only 2 fit into memory.* 2 references") as caught:
        strategy.prepare(references_of(model, pictures))
    assert caught.value.__cause__ is error
    assert strategy.object_ids == ()
    assert not pool_threads()


@pytest.mark.parametrize("error", SHORT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_for_the_targets_says_so(model: Sam2, pictures: Pictures, error: Exception) -> None:
    def fail() -> None:
        raise error

    with MultiSession(model, sessions=3) as strategy:
        strategy.prepare(references_of(model, pictures))
        with (
            before_each_pass(model, fail),
            pytest.raises(
                torch.OutOfMemoryError, match="memory ran out over the targets, with 2 of sessions=3"
            ) as caught,
        ):
            strategy.predict(pictures.targets[:2])
    assert caught.value.__cause__ is error


def test_cores_are_shared_out_while_a_batch_runs_and_given_back(model: Sam2, pictures: Pictures) -> None:
    used: set[int] = set()
    with (
        cores(4),
        MultiSession(model, sessions=2) as strategy,
        before_each_pass(model, lambda: used.add(torch.get_num_threads())),
    ):
        strategy.prepare(references_of(model, pictures))
        for targets, share in ((1, 4), (3, 2)):
            used.clear()
            strategy.predict(pictures.targets[:targets])
            assert used == {share}
            assert torch.get_num_threads() == 4
            with ThreadPoolExecutor(1) as new_thread:
                assert new_thread.submit(torch.get_num_threads).result() == 4


def test_pool_threads_compute_in_the_models_dtype_and_without_gradients(model: Sam2, pictures: Pictures) -> None:
    reduced = Sam2(model.network, name="toy")
    recorded = []

    def record(*_: object) -> None:
        recorded.append(
            (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_inference_mode_enabled())
        )
        raise Seen  # before anything is computed, as some CPUs die of bf16

    with MultiSession(reduced, sessions=2) as strategy:
        strategy.prepare(references_of(model, pictures))
        reduced.dtype = "bf16"
        hook = model.network.register_forward_pre_hook(record)
        with pytest.raises(Seen):
            strategy.predict(pictures.targets[:2])
        hook.remove()
    assert recorded == [(True, torch.bfloat16, True)] * 2


def test_the_number_of_sessions_must_be_positive(model: Sam2) -> None:
    with pytest.raises(UserError, match="sessions=0 must be at least 1"):
        MultiSession(model, sessions=0)

"""What went wrong, in a status and in words: a table of errors, and one of ends without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.isolate.failures import Failure, count_oom_kills, failure_of, failure_of_exit
from harness.row import STATUSES
from strategies.errors import UnavailableError, UserError

CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:126] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."
)


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("the third bolt is loose\nand the fourth"), "ZeroDivisionError: the third bolt is loose"),
        (ValueError("\n\n  late words\n"), "ValueError: late words"),
        (ValueError(), "ValueError: no message"),
        (RuntimeError("The size of tensor a (3) must match"), "RuntimeError: The size of tensor a (3) must match"),
        (ValueError("your story is out of memory"), "ValueError: your story is out of memory"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), "KeyboardInterrupt: no message"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_an_error_is_a_crash_with_its_name_and_its_first_line(error: BaseException, reason: str) -> None:
    assert failure_of(error) == Failure(status="crash", reason=reason)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError(CPU_ALLOCATOR),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_whatever_an_allocator_says_is_oom(error: BaseException) -> None:
    failure = failure_of(error)
    assert failure.status == "oom"
    assert failure.reason.startswith(f"{type(error).__name__}: ")
    assert not failure.refused


def leaving_a_recording() -> None:
    """Raise as torch.cuda.graph does, whose exit ends the recording and finds it broken."""
    try:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    finally:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def explaining() -> None:
    try:
        leaving_a_recording()
    except RuntimeError as error:
        raise ValueError("the third chunk could not be recorded") from error


@pytest.mark.parametrize("fails", [leaving_a_recording, explaining])
def test_an_error_that_another_error_covers_is_oom_too(fails: Callable[[], None]) -> None:
    with pytest.raises((RuntimeError, ValueError)) as caught:
        fails()
    assert failure_of(caught.value).status == "oom"


def going_on() -> None:
    try:
        raise MemoryError
    except MemoryError:
        raise ValueError("the third bolt is loose") from None


def test_an_error_that_was_dealt_with_is_not_the_reason_of_the_next() -> None:
    """``from None`` says so."""
    with pytest.raises(ValueError, match="bolt") as caught:
        going_on()
    assert failure_of(caught.value).status == "crash"


def test_errors_that_lead_in_a_circle_are_read_once() -> None:
    first, second = ValueError("hen"), ValueError("egg")
    first.__cause__, second.__cause__ = second, first
    assert failure_of(first).status == "crash"


def test_real_allocators_are_understood() -> None:
    for allocate in (
        lambda: bytearray(1 << 60),
        lambda: np.zeros(1 << 57),
        lambda: torch.empty(1 << 57),
    ):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        assert failure_of(caught.value).status == "oom"


def test_bad_input_is_skipped_in_its_own_words_and_is_to_be_mended() -> None:
    sentence = "targets/7.png can't be read;\nreplace it"
    assert failure_of(UserError(sentence)) == Failure(status="skipped", reason=sentence, refused=True)


def test_what_this_machine_lacks_is_skipped_and_nobodys_mistake() -> None:
    sentence = "strategy triton needs a CUDA GPU"
    assert failure_of(UnavailableError(sentence)) == Failure(status="skipped", reason=sentence, refused=False)


# --- ends without a word -------------------------------------------------------------------------------------------


def ended(code: int, output: str = "", *, oom_kills: int = 0) -> Failure:
    return failure_of_exit(code, output=output, doing="timing", oom_kills=oom_kills)


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (ended(0), "crash", "the worker exited with code 0, while timing"),
        (ended(3), "crash", "the worker exited with code 3, while timing"),
        (ended(-11), "crash", "the worker was killed by SIGSEGV, while timing"),
        (ended(-6), "crash", "the worker was killed by SIGABRT, while timing"),
        (ended(-36), "crash", "the worker was killed by signal 36, while timing"),
        (
            ended(-9),
            "crash",
            "the worker was killed by SIGKILL (by hand, or by the system for want of memory), while timing",
        ),
        (ended(-9, oom_kills=1), "oom", "the system killed the worker for want of memory, while timing"),
        (ended(-9, "last words", oom_kills=2), "oom", "the system killed the worker for want of memory, while timing"),
        (ended(-11, oom_kills=1), "crash", "the worker was killed by SIGSEGV, while timing"),
        (
            ended(-6, "terminate called after throwing an instance of 'std::bad_alloc'\n"),
            "oom",
            "the worker ran out of memory and could not go on, while timing; "
            "it last said: terminate called after throwing an instance of 'std::bad_alloc'",
        ),
        (
            ended(1, "Traceback (most recent call last):\n  File\nMemoryError\n"),
            "oom",
            "the worker ran out of memory and could not go on, while timing; it last said: MemoryError",
        ),
    ],
)
def test_an_end_without_a_word_is_explained_by_code_signal_and_output(
    failure: Failure, status: str, reason: str
) -> None:
    assert failure == Failure(status=status, reason=reason)
    assert failure.status in STATUSES


def test_the_last_line_that_says_anything_is_quoted() -> None:
    reason = "the worker exited with code 1, while timing; it last said: ImportError: no module named mine"
    assert ended(1, "Traceback:\n  File ...\n  ImportError: no module named mine  \n\n \n").reason == reason


def test_a_stack_that_the_interpreter_left_is_no_last_word() -> None:
    dump = 'Fatal Python error: Aborted\n\nCurrent thread 0x7 (most recent call first):\n  File "a.py", line 1 in f\n'
    failure = ended(-6, f"half of it is done\n{dump}")
    assert failure.reason == "the worker was killed by SIGABRT, while timing; it last said: half of it is done"
    assert failure.traceback == dump
    assert ended(-6, dump).reason == "the worker was killed by SIGABRT, while timing"


def test_of_endless_words_a_part_is_quoted() -> None:
    assert len(ended(1, "x" * 100_000).reason) < 400


def test_the_systems_kills_are_counted_where_it_tells_them() -> None:
    lines = [line for line in Path("/proc/vmstat").read_text().splitlines() if line.startswith("oom_kill ")]
    assert count_oom_kills() >= 0
    assert bool(lines) or count_oom_kills() == 0

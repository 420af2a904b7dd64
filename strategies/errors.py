"""Exceptions that mean something to whoever runs a strategy, and words that their sentences share."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Iterator, Sequence

MEMORY_WORDS = (
    "DefaultCPUAllocator",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "bad_alloc",
    "Cannot allocate",
)
"""Messages of allocators that have no exception of their own: torch's on a CPU, CUDA's libraries, C++, the system.

cuBLAS says that it is not initialised where there was no memory left for its handle.
"""


class UserError(Exception):
    """Bad input: one sentence that names the file or option and says what to do.

    Command lines print it without a traceback and exit with code 2.
    """


class UnavailableError(UserError):
    """Nothing is wrong with the input, but this machine can't do it: a strategy needs a GPU or a package.

    A sweep over all strategies goes on and counts the point as skipped.
    """


def one_of(option: str, value: str, valid: Collection[str]) -> None:
    """Raise UserError where an option's value is not one of the valid ones."""
    if value not in valid:
        raise UserError(f"{option}={value} is not known; choose one of {', '.join(valid)}")


def out_of_memory(error: BaseException) -> bool:
    """Return whether something failed for want of memory, on a GPU or on a CPU.

    It may have failed before the error: to leave a recording of CUDA graphs that ran out of memory raises another.
    """
    return any(_is_out_of_memory(one) for one in _chain(error))


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # Without torch, the error can't be one of torch's.
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError | OSError) and tells_of_memory(str(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it came from or was raised over, as a traceback would show them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def tells_of_memory(text: str) -> bool:
    """Return whether a text holds an allocator's words."""
    return any(words in text for words in MEMORY_WORDS)


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """Return a question about an unknown name, with a space behind it, which is empty where no valid name is near."""
    close = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]}? " if close else ""

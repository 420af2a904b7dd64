"""torch.compile for long-lived strategies: one compiled function for each layout of the arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from strategies.errors import UnavailableError, out_of_memory

if TYPE_CHECKING:
    from torch._dynamo.exc import BackendCompilerFailed

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(
    function: Callable[Arguments, Result], *, literally: bool = False, option: str = "compile"
) -> Callable[Arguments, Result]:
    """Have ``function`` compiled as a whole at its first call with tensors of new shapes; that takes a minute on a CPU.

    The arguments are tensors, numbers, None, tuples and dataclasses of such. Tensors do not become part of the compiled
    code, so others of the same shapes and strides find it ready. However many layouts there are, each is compiled and
    none is forgotten.
    literally: the compiler must not recognise patterns of operators and put others in their place; it would make flash
    attention of what ``sdpa=math`` asks for. option: the name of the option by which users ask for it.
    Calls raise UnavailableError where torch.compile can't work on this machine, for want of a compiler for instance.
    """
    # Importing torch's compiler takes seconds, which whoever compiles nothing does without.
    from torch._dynamo.exc import BackendCompilerFailed

    of_layout: dict[Hashable, Callable[..., Result]] = {}
    options: dict[str, str | int | bool | Callable] = {"pattern_matcher": not literally}

    def call(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        layout = _layout((*arguments, *keywords.values()))
        if layout not in of_layout:
            alone = _with_code_of_its_own(function)
            of_layout[layout] = torch.compile(alone, dynamic=False, fullgraph=True, options=options)
        try:
            return of_layout[layout](*arguments, **keywords)
        except BackendCompilerFailed as error:
            if out_of_memory(error):
                raise
            raise UnavailableError(
                f"{option}=true does not work here ({_cause(error)}): install a C++ compiler and Python's headers, on "
                "a GPU also the package triton, or leave it off"
            ) from error

    return call


def _with_code_of_its_own(function: Callable[..., Result]) -> Callable[..., Result]:
    """Wrap a function with a code object of its own, as torch gives up after eight compilations of one code object."""

    def call(*arguments: Any, **keywords: Any) -> Result:
        return function(*arguments, **keywords)

    call.__code__ = call.__code__.replace()
    return call


def _layout(value: Any) -> Hashable:
    match value:
        case Tensor():
            return value.shape, value.stride(), value.dtype
        case tuple():
            return tuple(map(_layout, value))
        case int() | None:
            return value
    return tuple(map(_layout, vars(value).values()))


def _cause(error: BackendCompilerFailed) -> str:
    """Return the error's first line, cut to a length that a sentence bears."""
    first = str(error.inner_exception).strip().splitlines()[0].rstrip(".:")
    return f"{type(error.inner_exception).__name__}: {first[:200]}"

"""A job in the command's own process, for debugging."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.isolate.failures import Failure
from harness.isolate.isolation import Outcome, run_inline
from harness.result import PointResult
from harness.row import Row
from strategies.errors import UserError
from tests.support.harness_runs import row

RESULT = PointResult(row=Row(**row("one")), config={"batch": 1}, details={"agreement": None})


@dataclass(frozen=True, kw_only=True)
class Here:
    """A job that needs no worker."""

    error: BaseException | None = None

    def run(self, tell: Callable[[str], None]) -> PointResult:
        tell("here")
        if self.error is not None:
            raise self.error
        return RESULT


def inline(job: Here) -> tuple[Outcome, list[str]]:
    stages: list[str] = []
    return run_inline(job, on_stage=stages.append), stages  # type: ignore[arg-type]


def test_inline_the_result_and_the_stages_are_the_same() -> None:
    assert inline(Here()) == (Outcome(result=RESULT), ["here"])


def test_inline_errors_become_the_same_failures() -> None:
    assert inline(Here(error=ZeroDivisionError("no"))) == (
        Outcome(failure=Failure(status="crash", reason="ZeroDivisionError: no")),
        ["here"],
    )
    assert inline(Here(error=MemoryError()))[0].failure == Failure(status="oom", reason="MemoryError: no message")
    refused = Failure(status="skipped", reason="mend it", refused=True)
    assert inline(Here(error=UserError("mend it")))[0].failure == refused


def test_inline_the_exception_itself_is_kept_for_a_debugger_but_for_bad_input() -> None:
    error = ZeroDivisionError("no")
    outcome = inline(Here(error=error))[0]
    assert outcome.error is error
    assert outcome.failure is not None
    assert "raise self.error" in outcome.failure.traceback
    refused = inline(Here(error=UserError("mend it")))[0]
    assert refused.error is None
    assert refused.failure is not None
    assert refused.failure.traceback == ""


def test_inline_an_interrupt_ends_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        inline(Here(error=KeyboardInterrupt()))


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no message for anybody")


@pytest.mark.parametrize("raised", [SystemExit(0), GeneratorExit(), MuteError()])
def test_inline_whatever_else_is_raised_ends_the_job_alone(raised: BaseException) -> None:
    outcome, _ = inline(Here(error=raised))
    assert outcome.failure is not None
    assert outcome.failure.status == "crash"
    assert type(raised).__name__ in outcome.failure.reason
    assert isinstance(outcome.error, Exception), "which the command raises in the end"
    assert raised in (outcome.error, outcome.error.__cause__)


def test_inline_an_exit_is_raised_again_with_its_words_and_where_it_was() -> None:
    error = inline(Here(error=SystemExit("because")))[0].error
    assert str(error) == "the strategy raised SystemExit: because"
    assert error is not None
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "run", "the last frame is the job's, where a debugger stops"

"""The matrix rate of a device, and what a speed costs beside it."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.measure.cost import (
    COPIED_BYTES,
    LARGEST_SIDE,
    Cost,
    cost,
    measure_copy_rate,
    measure_matrix_rate,
    projected_seconds,
)
from harness.measure.timing import device_clock
from strategies.models.precision import DTYPES

CPU = torch.device("cpu")
laws = settings(deadline=None, derandomize=True)
rates = st.floats(1e-3, 1e15)
jobs = st.integers(1, 10**7)


class Machine:
    """Multiplies at a known rate in FLOP/s; its first product of each shape takes ten times as long.

    tall: how many times as fast products are that are no squares.
    """

    def __init__(self, rate: float, *, tall: float = 1.0) -> None:
        self._rate = rate
        self._tall = tall
        self.now = 0.0
        self.warming_up = 0.0
        self.shapes: list[tuple[int, int, int]] = []

    @property
    def sides(self) -> list[int]:
        return [m for m, k, n in self.shapes if m == k == n]

    def clock(self) -> float:
        return self.now

    def mm(self, left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
        (m, k), n = left.shape, right.shape[1]
        assert (right.shape, out.shape) == ((k, n), (m, n))
        seconds = 2 * m * k * n / (self._rate * (1.0 if m == k == n else self._tall))
        if (m, k, n) not in self.shapes:
            seconds *= 10
            self.warming_up += seconds
        self.now += seconds
        self.shapes.append((m, k, n))
        return out


def measured_on(machine: Machine, monkeypatch: pytest.MonkeyPatch, dtype: str = "fp32") -> float:
    monkeypatch.setattr(torch, "mm", machine.mm)
    return measure_matrix_rate(CPU, dtype, machine.clock)


# --- the matrix rate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [3e9, 3e10, 3e11, 3e12, 3e13])
def test_the_matrix_rate_is_the_machines_and_warming_up_does_not_count(
    monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    assert measured_on(Machine(rate), monkeypatch) == pytest.approx(rate)


@pytest.mark.parametrize("rate", [1e9, 3e9, 1e10, 3e10, 1e11, 1e13])
def test_measuring_the_matrix_rate_takes_about_half_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    machine = Machine(rate)
    measured_on(machine, monkeypatch)
    assert machine.now - machine.warming_up < 0.5
    assert len(machine.shapes) - len(set(machine.shapes)) >= 3, "the best of a few"


@pytest.mark.parametrize("rate", [3e9, 3e13])
@pytest.mark.parametrize("tall", [0.5, 1.5])
def test_it_is_that_of_the_best_shape_so_that_tall_products_do_not_exceed_it(
    monkeypatch: pytest.MonkeyPatch, rate: float, tall: float
) -> None:
    machine = Machine(rate, tall=tall)
    assert measured_on(machine, monkeypatch) == pytest.approx(rate * max(1, tall))
    assert {shape[1:] for shape in machine.shapes} >= {(256, 2048), (2048, 256)}


def test_copies_count_what_is_read_and_what_is_written_and_not_the_first() -> None:
    ticks = iter([0.0, 9.0, *(float(tick) for tick in range(10, 100))])
    assert measure_copy_rate(CPU, lambda: next(ticks)) == 2 * COPIED_BYTES["cpu"]


def test_a_fast_machine_gets_the_largest_matrices_and_a_slow_one_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = Machine(1e12), Machine(1e9)
    measured_on(fast, monkeypatch)
    measured_on(slow, monkeypatch)
    assert max(fast.sides) == LARGEST_SIDE["cpu"]
    assert max(slow.sides) < LARGEST_SIDE["cpu"]


def test_the_matrices_are_of_the_dtype_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes = set()

    class Nosy(Machine):
        def mm(self, left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
            dtypes.update({left.dtype, right.dtype, out.dtype})
            return super().mm(left, right, out=out)

    for name, dtype in DTYPES.items():
        dtypes.clear()
        measured_on(Nosy(1e12), monkeypatch, name)
        assert dtypes == {dtype}


def test_a_real_cpu_has_a_matrix_rate() -> None:
    rate = measure_matrix_rate(CPU, "fp32", device_clock(CPU))
    assert math.isfinite(rate)
    assert rate > 0


# --- cost ----------------------------------------------------------------------------------------------------------


def test_cost_of_a_known_speed() -> None:
    assert cost(fps=2, encode_fps=10, flops_per_target=300e9, matrix_rate=1200e9, project_to=1000) == Cost(
        gflops_per_target=300,
        achieved_gflops_per_s=600,
        matrix_gflops_per_s=1200,
        matrix_share=0.5,
        projected_predict_s=500,
        projected_encode_s=100,
    )


@laws
@given(fps=rates, encode_fps=rates, flops=rates, rate=rates, job=jobs)
def test_the_share_is_what_is_achieved_of_the_matrix_rate(
    fps: float, encode_fps: float, flops: float, rate: float, job: int
) -> None:
    of = cost(fps=fps, encode_fps=encode_fps, flops_per_target=flops, matrix_rate=rate, project_to=job)
    assert of.achieved_gflops_per_s is not None
    assert of.matrix_gflops_per_s is not None
    assert of.matrix_gflops_per_s >= rate / 1e9
    assert of.gflops_per_target is not None
    assert of.matrix_share == pytest.approx(of.achieved_gflops_per_s / of.matrix_gflops_per_s)
    assert of.matrix_share <= 1
    assert of.achieved_gflops_per_s == pytest.approx(of.gflops_per_target * fps)


@laws
@given(fps=rates, job=jobs, factor=st.floats(1e-3, 1e3))
def test_a_speed_so_many_times_higher_takes_so_many_times_less(fps: float, job: int, factor: float) -> None:
    before, after = projected_seconds(job, fps), projected_seconds(job, fps * factor)
    assert before is not None
    assert after == pytest.approx(before / factor)


@laws
@given(fps=rates, first=jobs, second=jobs)
def test_two_jobs_take_as_long_as_both(fps: float, first: int, second: int) -> None:
    alone = [projected_seconds(job, fps) or math.nan for job in (first, second)]
    assert projected_seconds(first + second, fps) == pytest.approx(sum(alone))


NEEDS = {
    "fps": {"achieved_gflops_per_s", "matrix_share", "projected_predict_s"},
    "encode_fps": {"projected_encode_s"},
    "flops_per_target": {"gflops_per_target", "achieved_gflops_per_s", "matrix_share"},
    "matrix_rate": {"matrix_gflops_per_s", "matrix_share"},
}


@laws
@given(known=st.fixed_dictionaries({name: st.none() | rates for name in NEEDS}), job=jobs)
def test_what_needs_an_unknown_is_unknown_and_nothing_else(known: dict[str, float | None], job: int) -> None:
    unknown = {field for name, value in known.items() if value is None for field in NEEDS[name]}
    of = cost(**known, project_to=job)
    assert {field.name for field in fields(Cost) if getattr(of, field.name) is None} == unknown

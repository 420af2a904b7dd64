from __future__ import annotations

import pytest

from harness.pipeline.meter import WINDOW, Meter, bottleneck


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spend(meter: Meter, clock: Clock, **seconds: float) -> None:
    for name, duration in seconds.items():
        with meter.stage(name):
            clock.now += duration


@pytest.mark.parametrize(
    ("busy", "workers", "expected"),
    [
        ({"read": 3.0, "encode": 2.0, "predict": 2.0, "write": 2.0}, 1, "read"),
        ({"read": 3.0, "encode": 2.0, "predict": 2.0, "write": 2.0}, 2, "encode"),  # two workers share theirs
        ({"encode": 1.0, "predict": 2.0}, 1, "predict"),
        ({"enlarge": 1.0, "write": 0.5}, 8, "enlarge"),
        ({}, 4, ""),
    ],
)
def test_the_bottleneck_is_the_largest_stage_of_the_busier_side(
    busy: dict[str, float], workers: int, expected: str
) -> None:
    assert bottleneck(busy, workers=workers) == expected


def test_the_bottleneck_now_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    meter = Meter(workers=1, clock=clock)
    assert meter.now() == ""
    spend(meter, clock, read=100.0, predict=1.0)
    assert meter.now() == "read"
    spend(meter, clock, predict=WINDOW)
    assert meter.now() == "predict"
    spend(meter, clock, write=WINDOW / 2)
    assert meter.now() == "predict"  # not long enough ago to tell anew
    assert meter.busy() == {"read": 100.0, "encode": 0.0, "predict": 1.0 + WINDOW, "enlarge": 0.0, "write": WINDOW / 2}


def test_what_other_processes_measured_counts_too() -> None:
    clock = Clock()
    meter = Meter(workers=1, clock=clock)
    spend(meter, clock, read=1.0)
    meter.add({"read": 2.0, "predict": 5.0})
    assert meter.busy() == {"read": 3.0, "encode": 0.0, "predict": 5.0, "enlarge": 0.0, "write": 0.0}

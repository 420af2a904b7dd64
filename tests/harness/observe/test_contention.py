"""What others take of the processors while something is timed, by counters that the tests write themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.observe.contention import LEAST_SECONDS, OTHERS, Contention, ContentionMeter, Counters, read_counters


def counters(
    seconds: float, *, own: float = 0.0, busy: float | None = 0.0, cores: int = 2, steal: float | None = 0.0
) -> Counters:
    return Counters(
        seconds=seconds,
        own_s=own,
        processors_s=None if busy is None else seconds * cores,
        busy_s=busy,
        steal_s=steal,
        involuntary_switches=int(10 * seconds),
        pressure_s=0.5 * seconds,
    )


def watched(*moments: Counters) -> Contention:
    """Each two moments are the edges of a stretch."""
    left: Iterator[Counters] = iter(moments)
    meter = ContentionMeter(lambda: next(left))
    for _ in range(len(moments) // 2):
        with meter.watching():
            pass
    found = meter.result()
    assert found is not None
    return found


def test_others_are_what_the_processors_did_less_what_this_process_did() -> None:
    found = watched(counters(10), counters(20, own=8, busy=12))
    assert found.others == pytest.approx((12 - 8) / 20)
    assert found.disturbed is True


def test_alone_is_not_disturbed() -> None:
    found = watched(counters(10), counters(20, own=10, busy=10.2))
    assert found.others == pytest.approx(0.01)
    assert found.disturbed is False


def test_what_the_host_gave_to_other_machines_counts_as_taken_by_others() -> None:
    found = watched(counters(10), counters(20, own=10, busy=10, steal=5))
    assert found.others == pytest.approx(5 / 20)


@pytest.mark.parametrize(("taken", "disturbed"), [(OTHERS - 0.001, False), (OTHERS, True)])
def test_the_rule_is_a_share_of_all_processors_time(taken: float, disturbed: bool) -> None:
    assert watched(counters(0), counters(100, own=50, busy=50 + 200 * taken)).disturbed is disturbed


def test_stretches_add_up_and_what_is_between_them_does_not_count() -> None:
    found = watched(
        counters(0), counters(10, own=10, busy=10), counters(50, own=10, busy=90), counters(60, own=20, busy=104)
    )
    assert found.counters.seconds == 20
    assert found.others == pytest.approx((10 - 10 + 14 - 10) / 40)
    assert found.counters.involuntary_switches == 200


def test_shares_stay_shares_though_counters_are_coarse() -> None:
    assert watched(counters(0), counters(10, own=5, busy=4.9)).others == 0
    assert watched(counters(0), counters(10, busy=20, steal=1)).others == 1


def test_what_was_watched_too_shortly_or_can_not_be_read_is_none() -> None:
    short = watched(counters(0), counters(LEAST_SECONDS / 2, busy=9))
    assert (short.others, short.disturbed) == (None, None)
    blind = watched(counters(0, busy=None, steal=None), counters(10, busy=None, steal=None))
    assert (blind.others, blind.disturbed) == (None, None)


def test_nothing_watched_is_no_contention() -> None:
    assert ContentionMeter(lambda: counters(0)).result() is None


def test_it_is_stored_with_what_follows_from_it_and_read_back() -> None:
    found = watched(counters(10), counters(20, own=8, busy=12))
    stored = json.loads(json.dumps(found.as_json()))
    assert (stored["others"], stored["disturbed"]) == (found.others, True)
    assert Contention.from_json(stored) == found


def test_a_stretch_that_raises_is_watched_all_the_same() -> None:
    left = iter([counters(0), counters(10, busy=4)])
    meter = ContentionMeter(lambda: next(left))
    with pytest.raises(ZeroDivisionError), meter.watching():
        raise ZeroDivisionError
    found = meter.result()
    assert found is not None
    assert found.others == pytest.approx(0.2)


# --- the system's files --------------------------------------------------------------------------------------------


def test_linux_counters_are_read(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text("some avg10=1.00 avg60=0.00 avg300=0.00 total=2500000\nfull ...\n")
    (tmp_path / "stat").write_text("cpu  100 20 30 1000 50 6 7 80 9 0\ncpu0 1 2 3\n")
    (tmp_path / "loadavg").write_text("2.70 2.46 2.12 3/94 29472\n")
    read = read_counters(tmp_path)
    assert read.pressure_s == 2.5
    assert read.busy_s == pytest.approx((100 + 20 + 30 + 6 + 7) / 100)
    assert read.steal_s == pytest.approx(0.8)
    assert read.processors_s == pytest.approx((100 + 20 + 30 + 1000 + 50 + 6 + 7 + 80) / 100)
    meter = ContentionMeter(proc=tmp_path)
    with meter.watching():
        pass
    found = meter.result()
    assert found is not None
    assert found.run_queue == 2.7


@pytest.mark.parametrize("stat", [None, "", "intr 5\n", "cpu 1 2\n"])
def test_a_machine_without_them_tells_of_this_process_alone(tmp_path: Path, stat: str | None) -> None:
    if stat is not None:
        (tmp_path / "stat").write_text(stat)
    read = read_counters(tmp_path)
    assert (read.busy_s, read.steal_s, read.processors_s, read.pressure_s) == (None, None, None, None)
    assert read.own_s > 0
    meter = ContentionMeter(proc=tmp_path)
    with meter.watching():
        pass
    found = meter.result()
    assert found is not None
    assert (found.others, found.run_queue) == (None, None)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux counts the processors' time")
def test_a_real_neighbour_is_seen() -> None:
    """It runs all the time, and this process sleeps: others have about one processor, on however many there are."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        meter = ContentionMeter()
        with meter.watching():
            before = time.process_time()
            time.sleep(2 * LEAST_SECONDS)
            slept = time.process_time() - before < LEAST_SECONDS
    finally:
        busy.kill()
        busy.wait()
    found = meter.result()
    assert slept
    assert found is not None
    assert found.others is not None
    assert found.others * (os.cpu_count() or 1) > 0.3

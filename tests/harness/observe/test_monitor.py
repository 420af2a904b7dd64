"""What a monitor samples of a stretch of work, how it sums that up, and that the work never notices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pynvml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.observe.monitor import Monitor, Monitoring, Snapshot
from harness.observe.nvml import Gpu, GpuReading, memory_in_use_mb, open_gpu
from tests.support.fake_nvml import FakeDevice, FakeNvml, show_to_torch, unsupported

quick = settings(deadline=None, derandomize=True, max_examples=60)

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
BEE = "GPU-bee00000-1"


def opener(device: FakeDevice, nvml: FakeNvml | None = None) -> Callable[[torch.device], Gpu]:
    def open_fake(asked: torch.device) -> Gpu:
        assert asked == CUDA
        module = nvml or FakeNvml(device)
        module.nvmlInit()
        return Gpu(device, nvml=module)

    return open_fake


def watched(device: FakeDevice, **options: Any) -> Monitor:
    return Monitor(CUDA, opener=opener(device), **{"interval": 0.01, **options})


def wait_for_samples(monitor: Monitor, count: int) -> None:
    """Wait until there are ``count`` more samples; fails after a second."""
    wanted = len(monitor.result().samples) + count
    for _ in range(200):
        if len(monitor.result().samples) >= wanted:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} samples within a second")


def watching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "monitor"]


# --- when it samples -----------------------------------------------------------------------------------------------


def test_a_stretch_shorter_than_the_interval_has_a_sample_of_its_beginning_and_one_of_its_end() -> None:
    began = time.perf_counter()
    with Monitor(CPU, interval=60) as monitor:
        assert len(monitor.result().samples) == 1
    first, last = monitor.result().samples
    assert 0 <= first.seconds < last.seconds <= time.perf_counter() - began


def test_a_longer_one_is_sampled_again_and_again_while_the_work_goes_on() -> None:
    with Monitor(CPU, interval=0.01) as monitor:
        wait_for_samples(monitor, 4)
    seconds = [sample.seconds for sample in monitor.result().samples]
    assert len(seconds) >= 6
    assert seconds == sorted(seconds)
    assert all(later - sooner >= 0.009 for sooner, later in pairwise(seconds[:-1]))


def test_it_costs_less_than_a_hundredth_of_a_core() -> None:
    with Monitor(CUDA, opener=opener(FakeDevice(BEE))) as monitor:
        time.sleep(0.3)
    assert 0 < monitor.result().share_of_core < 0.01


def test_where_a_sample_is_expensive_it_samples_less_often() -> None:
    class Slow(Gpu):
        def read(self) -> GpuReading:
            until = time.thread_time() + 0.001
            while time.thread_time() < until:
                pass
            return super().read()

    device, nvml = FakeDevice(BEE), FakeNvml(FakeDevice(BEE))
    nvml.nvmlInit()
    with Monitor(CUDA, interval=0.002, opener=lambda _: Slow(device, nvml=nvml)) as monitor:
        time.sleep(0.25)
    assert monitor.result().share_of_core < 0.03, "every 2 ms it would be 0.3"


def test_the_thread_is_gone_after_the_block() -> None:
    with Monitor(CPU, interval=60) as monitor:
        assert len(watching_threads()) == 1
    assert watching_threads() == []
    assert len(monitor.result().samples) == 2


def test_the_thread_is_gone_and_the_gpu_is_closed_when_the_work_fails_and_the_failure_is_heard() -> None:
    nvml = FakeNvml()
    with (
        pytest.raises(ZeroDivisionError, match="no such thing"),
        Monitor(CUDA, interval=60, opener=opener(FakeDevice(BEE), nvml)) as monitor,
    ):
        raise ZeroDivisionError("no such thing")
    assert watching_threads() == []
    assert nvml.initialised == 0
    assert [sample.gpu.power_w for sample in monitor.result().samples] == [312.5, 312.5]


# --- what a sample is ----------------------------------------------------------------------------------------------


def test_without_a_gpu_memory_and_processor_time_are_there_and_there_is_no_note() -> None:
    with Monitor(CPU, interval=60) as monitor:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
    result = monitor.result()
    first, last = result.samples
    assert last.cpu_s - first.cpu_s >= 0.02
    assert {sample.gpu for sample in result.samples} == {GpuReading()}
    assert result.note is None
    assert set(result.columns()) == {"seconds", "phase", "rss_mb", "cpu_s"}


def test_resident_memory_grows_by_what_the_work_holds() -> None:
    with Monitor(CPU, interval=60) as monitor:
        held = torch.ones(64 << 18)  # This takes 64 MiB.
    first, last = (sample.rss_mb for sample in monitor.result().samples)
    assert first is not None
    assert last is not None
    assert last - first == pytest.approx(64, abs=16)
    del held


def test_the_gpu_is_read_with_every_sample() -> None:
    device = FakeDevice(BEE, energy_mj=1000)
    with watched(device, interval=60) as monitor:
        device.energy_mj, device.utilisation = 3500, 99
    first, last = (sample.gpu for sample in monitor.result().samples)
    assert (first.energy_j, first.utilisation) == (1, 87)
    assert (last.energy_j, last.utilisation) == (3.5, 99)


def test_a_gpu_that_disappears_leaves_nothing_and_the_work_goes_on() -> None:
    device = FakeDevice(BEE)
    with watched(device) as monitor:
        wait_for_samples(monitor, 1)
        device.broken = pynvml.NVML_ERROR_GPU_IS_LOST
        wait_for_samples(monitor, 2)
    readings = [sample.gpu for sample in monitor.result().samples]
    assert readings[0].power_w == 312.5
    assert readings[-2:] == [GpuReading(), GpuReading()]
    assert monitor.note is None


def test_no_failure_of_reading_or_closing_reaches_the_work() -> None:
    class Cursed(Gpu):
        def read(self) -> GpuReading:
            raise ValueError("not even NVML's")

        def close(self) -> None:
            raise ValueError("not even NVML's")

    with Monitor(CUDA, interval=0.01, opener=lambda _: Cursed(FakeDevice(BEE), nvml=FakeNvml())) as monitor:
        monitor.phase("sustained")
        wait_for_samples(monitor, 2)
    assert {sample.gpu for sample in monitor.result().samples} == {GpuReading()}
    assert watching_threads() == []


def test_without_a_driver_the_gpu_is_empty_and_one_note_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    show_to_torch(monkeypatch, [FakeDevice(BEE)], None)
    nvml = FakeNvml(driver=False)
    with Monitor(
        CUDA,
        interval=0.01,
        idle_mb=memory_in_use_mb(nvml=nvml),
        opener=lambda device: open_gpu(device, nvml=nvml),
    ) as monitor:
        wait_for_samples(monitor, 2)
    result = monitor.result()
    assert result.note == "The GPU's columns are empty: NVML can't be used (NVML Shared Library Not Found)."
    assert result.note == monitor.note
    assert set(result.columns()) == {"seconds", "phase", "rss_mb", "cpu_s"}
    assert {
        value for name, value in vars(result.summary()).items() if name not in ("cpu_cores_mean", "rss_peak_mb")
    } == {None}


def test_whatever_keeps_a_gpu_from_being_opened_is_a_note_of_one_line() -> None:
    def fall(device: torch.device) -> Gpu:
        raise OSError("libnvidia-ml.so:\n  cannot open")

    with Monitor(CUDA, opener=fall) as monitor:
        pass
    assert monitor.note == "The GPU's columns are empty: libnvidia-ml.so: cannot open."


def test_columns_have_a_value_for_each_sample_and_survive_json() -> None:
    device = FakeDevice(BEE, reasons=pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwSlowdown)
    with watched(device) as monitor:
        monitor.phase("sustained")
        wait_for_samples(monitor, 1)
        device.broken = pynvml.NVML_ERROR_UNKNOWN
    result = monitor.result()
    columns = result.columns()
    assert json.loads(json.dumps(columns)) == columns
    assert {len(values) for values in columns.values()} == {len(result.samples)}
    assert (columns["throttle"][0], columns["throttle"][-1]) == ("sw power cap, hw slowdown", None)
    assert (columns["power_w"][0], columns["power_w"][-1]) == (312.5, None)
    assert columns["phase"][:3] == ["", "", "sustained"]


def test_a_column_that_was_never_readable_is_left_out() -> None:
    with watched(FakeDevice(BEE, errors=unsupported("nvmlDeviceGetUtilizationRates"))) as monitor:
        pass
    assert "utilisation" not in monitor.result().columns()
    assert "power_w" in monitor.result().columns()


# --- phases --------------------------------------------------------------------------------------------------------


def test_a_phase_is_sampled_from_its_first_moment_to_its_last_however_short() -> None:
    device = FakeDevice(BEE, energy_mj=0)
    with watched(device, interval=60) as monitor:
        device.energy_mj = 10_000
        monitor.phase("sustained")
        device.energy_mj = 17_000
        monitor.phase("check")
        device.energy_mj = 50_000
    result = monitor.result()
    assert [sample.phase for sample in result.samples] == ["", "", "sustained", "sustained", "check", "check"]
    energy = {phase: result.summary(phase).gpu_energy_j for phase in ("", "sustained", "check")}
    assert energy == {"": 10, "sustained": 7, "check": 33}


def sample(
    seconds: float = 0, phase: str = "", *, cpu_s: float = 0, rss_mb: float | None = None, **gpu: Any
) -> Snapshot:
    return Snapshot(seconds=seconds, phase=phase, cpu_s=cpu_s, rss_mb=rss_mb, gpu=GpuReading(**gpu))


def test_a_summary_is_of_the_sustained_phase_where_there_is_one_and_of_everything_where_not() -> None:
    of_phases = Monitoring(
        samples=(
            sample(0, "warm-up", rss_mb=900, power_w=1),
            sample(1, "sustained", rss_mb=100, power_w=3),
            sample(2, "sustained", rss_mb=200, power_w=5),
        )
    )
    assert (of_phases.summary().gpu_power_mean_w, of_phases.summary().rss_peak_mb) == (4, 200)
    assert of_phases.summary("warm-up").gpu_power_mean_w == 1
    other = Monitoring(samples=(sample(0, "warm-up", power_w=1), sample(1, "check", power_w=2)))
    assert other.summary().gpu_power_mean_w == 1.5


def test_a_phase_that_never_came_has_nothing() -> None:
    some = Monitoring(samples=(sample(0, power_w=1, rss_mb=1, energy_j=1), sample(1, cpu_s=1, energy_j=2)), idle_mb=0)
    assert set(vars(some.summary("dusk")).values()) == {None}


def test_before_it_begins_there_are_no_samples() -> None:
    result = Monitor(CPU).result()
    assert result == Monitoring(samples=())
    assert result.columns() == {}
    assert set(vars(result.summary()).values()) == {None}


# --- the summary ---------------------------------------------------------------------------------------------------


def test_memory_is_what_is_in_use_beyond_what_was_in_use_before() -> None:
    device, neighbour = FakeDevice(BEE, used_mb=700), FakeDevice("GPU-a4700000-2", used_mb=90_000)
    before = memory_in_use_mb(nvml=FakeNvml(neighbour, device))
    device.used_mb = 5700
    with watched(device, idle_mb=before) as monitor:
        device.used_mb = 9700
        monitor.phase("later")
        device.used_mb = 2700
    assert monitor.result().idle_mb == 700
    assert monitor.result().summary().gpu_memory_mb == 9000
    assert monitor.result().summary("later").gpu_memory_mb == 9000


def test_memory_is_empty_where_it_is_not_known_what_was_in_use_before() -> None:
    with watched(FakeDevice(BEE), idle_mb={"GPU-a4700000-2": 5.0}) as monitor:
        pass
    assert monitor.result().summary().gpu_memory_mb is None
    assert monitor.result().columns()["memory_used_mb"] == [3000, 3000]


USED = st.lists(st.none() | st.integers(0, 80_000), min_size=1, max_size=8)


@quick
@given(used=USED, idle=st.integers(0, 80_000))
def test_of_memory_the_most_counts_and_moments_that_could_not_be_read_do_not(used: list[int | None], idle: int) -> None:
    monitoring = Monitoring(samples=tuple(sample(memory_used_mb=value) for value in used), idle_mb=idle)
    readable = [value for value in used if value is not None]
    assert monitoring.summary().gpu_memory_mb == (max(readable) - idle if readable else None)


@quick
@given(values=st.lists(st.none() | st.floats(0, 1000), max_size=8))
def test_means_lie_within_what_was_read_and_are_empty_where_nothing_was(values: list[float | None]) -> None:
    summary = Monitoring(
        samples=tuple(sample(power_w=value, utilisation=value, sm_clock_mhz=value) for value in values)
    ).summary()
    means = {summary.gpu_power_mean_w, summary.gpu_util_mean, summary.gpu_sm_clock_mean_mhz}
    readable = [value for value in values if value is not None]
    if not readable:
        assert means == {None}
        return
    (mean,) = means
    assert mean is not None
    assert min(readable) - 1e-9 <= mean <= max(readable) + 1e-9


COUNTED = st.lists(st.tuples(st.sampled_from(["sustained", "check"]), st.integers(1, 100)), min_size=2, max_size=12)


@quick
@given(steps=COUNTED)
def test_the_energy_of_a_phase_is_what_the_counter_went_on_while_in_it_and_nothing_in_between(
    steps: list[tuple[str, int]],
) -> None:
    samples, energy = [], 4_000_000  # The counter began when the driver was loaded.
    for at, (phase, joules) in enumerate(steps):
        samples.append(sample(2 * at, phase, energy_j=energy, cpu_s=6 * at))
        energy += joules
        samples.append(sample(2 * at + 2, phase, energy_j=energy, cpu_s=6 * at + 6))
    monitoring = Monitoring(samples=tuple(samples))
    for phase in ("sustained", "check"):
        spent = [joules for name, joules in steps if name == phase]
        assert monitoring.summary(phase).gpu_energy_j == (sum(spent) if spent else None)
        assert monitoring.summary(phase).cpu_cores_mean == (3 if spent else None)


@pytest.mark.parametrize("lost", [0, 1, 3, 4])
def test_energy_is_empty_where_the_counter_cannot_be_read_at_an_end_of_any_stretch_of_the_phase(lost: int) -> None:
    phases = ["sustained", "sustained", "check", "sustained", "sustained"]
    energies = [None if at == lost else 100.0 * at for at in range(5)]
    samples = [
        sample(at, phase, energy_j=joules) for at, (phase, joules) in enumerate(zip(phases, energies, strict=True))
    ]
    assert Monitoring(samples=tuple(samples)).summary().gpu_energy_j is None


def test_energy_needs_its_counter_only_at_the_ends() -> None:
    monitoring = Monitoring(samples=(sample(0, energy_j=100), sample(1), sample(2, energy_j=130)))
    assert monitoring.summary().gpu_energy_j == 30


def test_one_sample_gives_no_energy_and_no_cores() -> None:
    summary = Monitoring(samples=(sample(0, energy_j=5, cpu_s=1),)).summary()
    assert (summary.gpu_energy_j, summary.cpu_cores_mean) == (None, None)


def test_throttling_is_all_that_happened_at_some_time_in_order_of_the_alphabet() -> None:
    times = [(), ("sw power cap", "hw slowdown"), None, ("sw power cap",)]
    monitoring = Monitoring(samples=tuple(sample(throttle=names) for names in times))
    assert monitoring.summary().throttle == "hw slowdown, sw power cap"


def test_no_throttling_is_not_the_same_as_not_knowing() -> None:
    assert Monitoring(samples=(sample(throttle=()), sample())).summary().throttle == ""
    assert Monitoring(samples=(sample(), sample())).summary().throttle is None


def test_of_foreign_processes_temperature_and_resident_memory_the_most_counts() -> None:
    summary = Monitoring(
        samples=(
            sample(foreign_processes=0, temperature_c=50, rss_mb=10),
            sample(foreign_processes=2, temperature_c=71, rss_mb=None),
            sample(foreign_processes=None, temperature_c=60, rss_mb=8),
        )
    ).summary()
    assert (summary.foreign_processes, summary.gpu_temperature_max_c, summary.rss_peak_mb) == (2, 71, 10)


def test_a_gpu_that_did_nothing_has_zeros_and_no_gaps() -> None:
    idle = FakeDevice(BEE, utilisation=0, power_mw=0, temperature=0, sm_clock=0)
    with watched(idle, idle_mb={BEE: 3000.0}) as monitor:
        pass
    summary = vars(monitor.result().summary())
    gpu = {name: value for name, value in summary.items() if name.startswith("gpu") or name == "foreign_processes"}
    assert set(gpu.values()) == {0}

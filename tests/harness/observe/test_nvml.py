"""Which GPU is opened, and what is read from it: the right one, and nothing that it did not report."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pynvml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.observe.nvml import THROTTLES, Gpu, GpuReading, NvmlUnavailableError, memory_in_use_mb, open_gpu
from tests.support import fake_nvml
from tests.support.fake_nvml import FakeDevice, FakeNvml, show_to_torch, unsupported

quick = settings(deadline=None, derandomize=True, max_examples=60)

NOTHING = GpuReading()
BEE, ANT, FLY = "GPU-bee00000-1", "GPU-a4700000-2", "GPU-f1900000-3"
LARVA, PUPA = "MIG-1a44a000-4", "MIG-9b9a0000-5"


def opened(device: FakeDevice, **options: Any) -> Gpu:
    nvml = FakeNvml(device, **options)
    nvml.nvmlInit()
    return Gpu(device, nvml=nvml)


def read(**counters: Any) -> GpuReading:
    return opened(FakeDevice(BEE, **counters)).read()


# --- which GPU -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visible", [",".join(order) for order in permutations("012")] + ["2", "1,0", None])
@pytest.mark.parametrize("nvml_order", list(permutations([BEE, ANT, FLY])))
def test_whatever_the_order_of_visible_indices_the_gpu_opened_is_the_one_torch_computes_on(
    visible: str | None, nvml_order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = [FakeDevice(uuid) for uuid in (BEE, ANT, FLY)]
    show_to_torch(monkeypatch, cuda, visible)
    nvml = FakeNvml(*(FakeDevice(uuid) for uuid in nvml_order))
    expected = [cuda[int(token)].uuid for token in (visible or "0,1,2").split(",")]
    assert [open_gpu(torch.device("cuda", place), nvml=nvml).uuid for place in range(len(expected))] == expected


def test_visible_devices_may_be_uuids_whole_or_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [FakeDevice(uuid) for uuid in (BEE, ANT, FLY)]
    show_to_torch(monkeypatch, devices, f"{FLY},GPU-bee0")
    nvml = FakeNvml(*reversed(devices))
    assert open_gpu(torch.device("cuda:0"), nvml=nvml).uuid == FLY
    assert open_gpu(torch.device("cuda:1"), nvml=nvml).uuid == BEE


def test_a_device_without_a_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [FakeDevice(uuid) for uuid in (BEE, ANT, FLY)]
    show_to_torch(monkeypatch, devices, None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert open_gpu(torch.device("cuda"), nvml=FakeNvml(*devices)).uuid == FLY


def test_a_visible_mig_instance_is_opened_and_not_the_gpu_that_it_is_a_part_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = FakeDevice(BEE, instances=[FakeDevice(LARVA), FakeDevice(PUPA)])
    show_to_torch(monkeypatch, [whole], PUPA)
    assert open_gpu(torch.device("cuda:0"), nvml=FakeNvml(whole)).uuid == PUPA


def test_the_token_of_a_mig_instance_counts_even_where_torch_gives_the_uuid_of_the_whole_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = FakeDevice(BEE, instances=[FakeDevice(LARVA)])
    show_to_torch(monkeypatch, [whole], None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", LARVA)
    assert open_gpu(torch.device("cuda:0"), nvml=FakeNvml(whole)).uuid == LARVA


def test_a_mig_instance_that_no_variable_names_is_found_by_the_uuid_that_torch_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance = FakeDevice(LARVA)
    show_to_torch(monkeypatch, [instance], None)
    assert open_gpu(torch.device("cuda:0"), nvml=FakeNvml(FakeDevice(BEE, instances=[instance]))).uuid == LARVA


@pytest.mark.parametrize("uuid", [BEE, LARVA])
def test_a_uuid_that_has_its_prefix_gets_no_other(uuid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_to_torch(monkeypatch, [], None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: FakeDevice(uuid))
    nvml = FakeNvml(FakeDevice(BEE, instances=[FakeDevice(LARVA)]))
    assert open_gpu(torch.device("cuda:0"), nvml=nvml).uuid == uuid


def test_without_a_driver_the_reason_is_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    show_to_torch(monkeypatch, [FakeDevice(BEE)], None)
    with pytest.raises(NvmlUnavailableError, match="NVML Shared Library Not Found"):
        open_gpu(torch.device("cuda:0"), nvml=FakeNvml(driver=False))


def test_a_gpu_that_nvml_does_not_have_is_named_in_the_error_and_nvml_is_shut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show_to_torch(monkeypatch, [FakeDevice(BEE)], None)
    nvml = FakeNvml(FakeDevice(ANT))
    with pytest.raises(NvmlUnavailableError, match=BEE):
        open_gpu(torch.device("cuda:0"), nvml=nvml)
    assert nvml.initialised == 0


def test_a_gpu_that_torch_does_not_have_is_no_other_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    show_to_torch(monkeypatch, [FakeDevice(BEE)], None)
    with pytest.raises(NvmlUnavailableError, match="torch does not find cuda:3"):
        open_gpu(torch.device("cuda:3"), nvml=FakeNvml(FakeDevice(BEE)))


# --- what is read --------------------------------------------------------------------------------------------------


def test_a_reading_is_in_the_units_that_it_says() -> None:
    assert read() == GpuReading(
        utilisation=87,
        memory_used_mb=3000,
        power_w=312.5,
        energy_j=9000,
        temperature_c=61,
        sm_clock_mhz=1755,
        memory_clock_mhz=2619,
        throttle=(),
        foreign_processes=0,
    )


COUNTERS = {
    "utilisation": {"nvmlDeviceGetUtilizationRates"},
    "memory_used_mb": {"nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"},
    "power_w": {"nvmlDeviceGetPowerUsage"},
    "energy_j": {"nvmlDeviceGetTotalEnergyConsumption"},
    "temperature_c": {"nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"},
    "throttle": {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"},
    "foreign_processes": {"nvmlDeviceGetComputeRunningProcesses"},
}


@quick
@given(lacking=st.sets(st.sampled_from(sorted(COUNTERS))))
def test_a_counter_that_is_not_supported_is_empty_and_the_others_are_as_ever(lacking: set[str]) -> None:
    functions = set[str]().union(*(COUNTERS[name] for name in lacking))
    assert vars(read(errors=unsupported(*functions))) == vars(read()) | dict.fromkeys(lacking)


def test_clocks_that_are_not_supported_are_empty() -> None:
    reading = read(errors=unsupported("nvmlDeviceGetClockInfo"))
    assert (reading.sm_clock_mhz, reading.memory_clock_mhz) == (None, None)


def test_a_counter_that_is_0_is_0() -> None:
    reading = read(utilisation=0, used_mb=0, power_mw=0, energy_mj=0, temperature=0, sm_clock=0, memory_clock=0)
    assert set(vars(reading).values()) == {0, ()}


def test_a_driver_without_the_second_version_of_memory_is_asked_for_the_first() -> None:
    reading = read(used_mb=3000, reserved_mb=500, errors=unsupported("nvmlDeviceGetMemoryInfo_v2"))
    assert reading.memory_used_mb == 3500


def test_memory_that_fails_once_is_empty_and_not_replaced_by_one_that_counts_differently() -> None:
    assert read(errors={"nvmlDeviceGetMemoryInfo_v2": pynvml.NVML_ERROR_UNKNOWN}).memory_used_mb is None


@pytest.mark.parametrize(
    "missing",
    [
        {"nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"},
        {"nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksThrottleReasons"},
    ],
)
def test_an_older_or_newer_pynvml_that_lacks_a_name_has_another(missing: set[str]) -> None:
    assert opened(FakeDevice(BEE), missing=frozenset(missing)).read() == read()


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_a_device_that_is_lost_reads_as_nothing_and_goes_on_doing_so(error: int) -> None:
    device = FakeDevice(BEE)
    gpu = opened(device)
    before = gpu.read()
    device.broken = error
    assert [gpu.read(), gpu.read()] == [NOTHING, NOTHING]
    assert before != NOTHING


@quick
@given(calls=st.integers(0, 30))
def test_a_device_that_is_lost_amid_a_reading_leaves_what_was_read_before_and_nothing_after(calls: int) -> None:
    expected = vars(read())
    gpu = opened(FakeDevice(BEE, calls_left=calls))
    readings = [vars(gpu.read()) for _ in range(5)]
    assert all(reading[name] in (expected[name], None) for reading in readings for name in expected)
    empty = [sum(value is None for value in reading.values()) for reading in readings]
    assert empty == sorted(empty)
    assert empty[-1] == len(expected)


def test_a_closed_gpu_reads_as_nothing_and_nvml_is_shut_down_once() -> None:
    device = FakeDevice(BEE)
    nvml = FakeNvml(device)
    nvml.nvmlInit()
    nvml.nvmlInit()  # This is someone else's.
    gpu = Gpu(device, nvml=nvml)
    gpu.close()
    gpu.close()
    assert nvml.initialised == 1
    nvml.nvmlShutdown()
    assert gpu.read() == NOTHING


# --- what holds the clocks down ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (pynvml.nvmlClocksEventReasonSwPowerCap, "sw power cap"),
        (pynvml.nvmlClocksEventReasonHwSlowdown, "hw slowdown"),
        (pynvml.nvmlClocksEventReasonSyncBoost, "sync boost"),
        (pynvml.nvmlClocksEventReasonSwThermalSlowdown, "sw thermal slowdown"),
        (pynvml.nvmlClocksEventReasonHwThermalSlowdown, "hw thermal slowdown"),
        (pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown, "hw power brake"),
    ],
)
def test_a_reason_has_a_name(reason: int, name: str) -> None:
    assert read(reasons=reason).throttle == (name,)


@pytest.mark.parametrize(
    "reason",
    [
        pynvml.nvmlClocksEventReasonNone,
        pynvml.nvmlClocksEventReasonGpuIdle,
        pynvml.nvmlClocksEventReasonApplicationsClocksSetting,
        pynvml.nvmlClocksEventReasonDisplayClockSetting,
    ],
)
def test_idleness_and_settings_are_no_throttling(reason: int) -> None:
    assert read(reasons=reason).throttle == ()


@quick
@given(mask=st.integers(0, 2**64 - 1))
def test_of_any_mask_the_names_are_those_of_its_bits(mask: int) -> None:
    assert read(reasons=mask).throttle == tuple(THROTTLES[bit] for bit in THROTTLES if mask & bit)


# --- other processes -----------------------------------------------------------------------------------------------

OTHERS = st.sets(st.integers(10_000_000, 20_000_000), max_size=6)


@quick
@given(others=OTHERS)
def test_other_processes_are_all_but_this_one(others: set[int]) -> None:
    assert read(pids=[*others, os.getpid()]).foreign_processes == len(others)


@quick
@given(others=OTHERS, own=st.integers(20_000_001, 30_000_000))
def test_where_pids_are_of_another_namespace_one_of_them_is_this_process(others: set[int], own: int) -> None:
    assert read(pids=[own, *others]).foreign_processes == len(others)


def test_a_process_listed_twice_is_one() -> None:
    assert read(pids=[77, os.getpid(), 77, os.getpid()]).foreign_processes == 1


def test_a_list_that_lacks_even_this_process_gives_no_count() -> None:
    assert read(pids=[]).foreign_processes is None


# --- memory before CUDA is used ------------------------------------------------------------------------------------


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("CUDA was used")

    for name in ("init", "_lazy_init", "get_device_properties", "current_device"):
        monkeypatch.setattr(torch.cuda, name, refuse)


@pytest.mark.usefixtures("no_cuda")
def test_memory_in_use_is_read_of_every_gpu_and_instance_by_uuid_without_using_cuda() -> None:
    parts = [FakeDevice(LARVA, used_mb=20), FakeDevice(PUPA, used_mb=30)]
    nvml = FakeNvml(FakeDevice(BEE, used_mb=700), FakeDevice(ANT, used_mb=50, instances=parts))
    assert memory_in_use_mb(nvml=nvml) == {BEE: 700, ANT: 50, LARVA: 20, PUPA: 30}
    assert nvml.initialised == 0


@pytest.mark.parametrize("visible", ["1,0", f"{ANT},{BEE}", None])
def test_memory_in_use_is_found_again_under_the_uuid_of_an_opened_gpu(
    visible: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [FakeDevice(BEE, used_mb=1), FakeDevice(ANT, used_mb=2)]
    nvml = FakeNvml(*reversed(devices))
    before = memory_in_use_mb(nvml=nvml)
    show_to_torch(monkeypatch, devices, visible)
    for place in (0, 1):
        gpu = open_gpu(torch.device("cuda", place), nvml=nvml)
        assert gpu.uuid is not None
        assert gpu.read().memory_used_mb == before[gpu.uuid]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda device: setattr(device, "broken", pynvml.NVML_ERROR_GPU_IS_LOST),
        lambda device: device.errors.update(unsupported(*COUNTERS["memory_used_mb"])),
        lambda device: device.errors.update(unsupported("nvmlDeviceGetUUID")),
    ],
)
def test_a_gpu_whose_memory_cannot_be_read_is_left_out(spoil: Callable[[FakeDevice], None]) -> None:
    lost = FakeDevice(BEE)
    spoil(lost)
    assert memory_in_use_mb(nvml=FakeNvml(lost, FakeDevice(ANT, used_mb=50))) == {ANT: 50}


def test_without_a_driver_no_memory_is_read() -> None:
    assert memory_in_use_mb(nvml=FakeNvml(driver=False)) == {}


def test_every_function_of_the_fake_is_one_of_the_library() -> None:
    names = {*fake_nvml.COUNTERS, *fake_nvml.LOOKUPS, "nvmlInit", "nvmlShutdown"}
    assert {name for name in names if not hasattr(pynvml, name)} == set()

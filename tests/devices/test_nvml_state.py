from __future__ import annotations

import os
import subprocess
import sys
import types

import pynvml
import pytest

from ebbench.errors import DeviceError
from ebbench_devices.nvidia.nvml_state import NvmlState


def not_supported(*_):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def driver(monkeypatch):
    """The library with one busy GPU behind it, on which a test can change every answer."""
    fake = types.SimpleNamespace(NVMLError=pynvml.NVMLError, gpus=["GPU-aaaa"], reasons=0, pids=[], mig=0)
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetCount = lambda: len(fake.gpus)
    fake.nvmlDeviceGetHandleByIndex = lambda i: fake.gpus[i]
    fake.nvmlDeviceGetUUID = lambda gpu: gpu
    fake.nvmlDeviceGetTemperature = lambda gpu, sensor: 61
    fake.nvmlDeviceGetClockInfo = lambda gpu, kind: {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619}[kind]
    fake.nvmlDeviceGetFanSpeed = not_supported
    fake.nvmlDeviceGetPowerManagementLimit = lambda gpu: 700_000
    fake.nvmlDeviceGetMigMode = lambda gpu: [fake.mig, 0]
    fake.nvmlDeviceGetCurrentClocksThrottleReasons = lambda gpu: fake.reasons
    fake.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [types.SimpleNamespace(pid=pid) for pid in fake.pids]
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def read(uuid=None):
    return NvmlState(uuid, os.getpid()).read()


def test_a_quiet_gpu(driver):
    assert read() == {
        "temperature_c": {"gpu": 61.0},
        "clock_hz": {"gpu sm": 1_980_000_000, "gpu memory": 2_619_000_000},
        "settings": {"gpu power limit mW": "700000"},
        "mig": False,
        "throttled": [],
        "power_capped": False,
        "foreign_processes": [],
    }


def test_the_bits_are_those_of_the_library(driver):
    for name, told in (
        ("HwSlowdown", "gpu hardware slowdown"),
        ("SwThermalSlowdown", "gpu temperature"),
        ("HwThermalSlowdown", "gpu temperature (hardware)"),
        ("HwPowerBrakeSlowdown", "gpu power brake"),
    ):
        driver.reasons = getattr(pynvml, f"nvmlClocksThrottleReason{name}")
        assert read()["throttled"] == [told]
    driver.reasons = pynvml.nvmlClocksThrottleReasonSwPowerCap | pynvml.nvmlClocksThrottleReasonGpuIdle
    assert read()["throttled"] == [] and read()["power_capped"] is True


def test_a_program_of_somebody_else_is_foreign_and_one_of_the_run_is_not(driver):
    child = subprocess.Popen(["sleep", "60"])
    stranger = subprocess.run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
    pid = int(stranger.stdout)  # its parent has gone, so it is nobody's child any more
    try:
        driver.pids = [os.getpid(), child.pid, pid]
        assert read()["foreign_processes"] == [{"pid": pid, "name": "sleep"}]
    finally:
        child.kill()
        child.wait()
        os.kill(pid, 9)


def test_in_a_container_whose_numbers_are_not_the_drivers_nobody_is_accused(driver):
    driver.pids = [os.getpid(), 2**22 + 5]
    assert "foreign_processes" not in read()


def test_a_split_gpu_is_said(driver):
    driver.mig = 1
    assert read()["mig"] is True
    assert read("GPU-of-a-part")["mig"] is True  # as CUDA gives it to a program that uses a part


def test_what_the_gpu_does_not_support_is_left_out(driver):
    for name in ("MigMode", "CurrentClocksThrottleReasons", "ComputeRunningProcesses", "Temperature", "ClockInfo"):
        setattr(driver, f"nvmlDeviceGet{name}", not_supported)
    driver.nvmlDeviceGetPowerManagementLimit = not_supported
    assert read() == {}


def test_of_several_gpus_the_one_that_is_used_is_watched_or_none(driver):
    driver.gpus = ["GPU-aaaa", "GPU-bbbb"]
    with pytest.raises(DeviceError, match="which GPU is used is not known"):
        read()
    with pytest.raises(DeviceError, match="which GPU is used is not known"):
        read("GPU-of-a-part")
    assert read("GPU-bbbb")["mig"] is False and read("aaaa")["mig"] is False

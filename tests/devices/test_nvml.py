from __future__ import annotations

import sys
import types

import pynvml
import pytest

from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, INSTANT, MeterRequest
from ebbench_devices.nvml import NvmlMeter


class FakeGpu:
    """One GPU: what is None is not supported."""

    def __init__(self, uuid="GPU-aaaa", capability=(9, 0), instant_mw=101_000, usage_mw=99_000, energy_mj=5_000):
        self.uuid, self.capability = uuid, capability
        self.instant_mw, self.usage_mw, self.energy_mj = instant_mw, usage_mw, energy_mj


@pytest.fixture
def driver(monkeypatch):
    """The library with the GPUs of a test behind it; the error classes are the real ones."""
    fake = types.ModuleType("pynvml")
    fake.gpus, fake.started = [FakeGpu()], 0

    def supported(value):
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    def start():
        fake.started += 1

    def stop():
        fake.started -= 1

    def fields(gpu, ids):
        assert ids == [(pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU)]
        value = pynvml.c_nvmlFieldValue_t()
        value.nvmlReturn = pynvml.NVML_SUCCESS if gpu.instant_mw is not None else pynvml.NVML_ERROR_NOT_SUPPORTED
        value.value.uiVal = gpu.instant_mw or 0
        return [value]

    for name in ("NVMLError", "NVML_FI_DEV_POWER_INSTANT", "NVML_POWER_SCOPE_GPU", "NVML_SUCCESS"):
        setattr(fake, name, getattr(pynvml, name))
    fake.nvmlInit, fake.nvmlShutdown = start, stop
    fake.nvmlDeviceGetCount = lambda: len(fake.gpus)
    fake.nvmlDeviceGetHandleByIndex = lambda i: fake.gpus[i]
    fake.nvmlDeviceGetUUID = lambda gpu: gpu.uuid
    fake.nvmlDeviceGetName = lambda gpu: b"NVIDIA Test"
    fake.nvmlSystemGetDriverVersion = lambda: "550.1"
    fake.nvmlDeviceGetCudaComputeCapability = lambda gpu: gpu.capability
    fake.nvmlDeviceGetPowerUsage = lambda gpu: supported(gpu.usage_mw)
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: supported(gpu.energy_mj)
    fake.nvmlDeviceGetFieldValues = fields
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def opened(**request):
    meter = NvmlMeter(MeterRequest(**request))
    return meter, meter.open()


def test_power_and_counter_are_read_as_the_driver_gives_them(driver):
    meter, info = opened()
    assert [(c.name, c.scale, c.raw) for c in info.columns] == [("GPU_w", 1e-3, True), ("GPU_j", 1e-3, True)]
    assert list(meter.read()) == [101_000, 5_000]
    assert (info.scope, info.total, info.default_rate_hz, info.simulated) == ("gpu", ("GPU",), 20.0, False)
    assert info.rails[0].kind == INSTANT and info.identity["power_from"] == "instant"
    assert info.rails[0].counter_averaging_s is None  # how late its counter is no document says


def test_who_knows_the_gpu_better_than_nvml_states_it(driver):
    assert opened()[1].rails[0].gain_ratio == pytest.approx(0.05 / 3**0.5)
    rail = opened(options={"gain_u": "0.01", "resolution_w": "1"})[1].rails[0]
    assert (rail.gain_ratio, rail.offset_w, rail.resolution_w) == (0.01, None, 1.0)
    with pytest.raises(ConfigError, match="nvml: gain_u = -1 must be at least 0"):
        NvmlMeter(MeterRequest(options={"gain_u": "-1"}))


@pytest.mark.parametrize(
    ("capability", "kind", "averaging_s"), [((7, 0), INSTANT, 0.0), ((8, 0), INSTANT, 0.0), ((8, 6), AVERAGE, 1.0)]
)
def test_power_usage_is_a_mean_of_one_second_on_gpus_newer_than_ga100(driver, capability, kind, averaging_s):
    driver.gpus = [FakeGpu(capability=capability, instant_mw=None)]
    meter, info = opened()
    assert (info.rails[0].kind, info.rails[0].averaging_s) == (kind, averaging_s)
    assert meter.read()[0] == 99_000


def test_a_library_that_does_not_know_the_instant_power_still_works(driver):
    del driver.NVML_FI_DEV_POWER_INSTANT
    assert opened()[0].read()[0] == 99_000


def test_without_a_counter_there_is_only_power_and_without_power_only_the_counter(driver):
    driver.gpus = [FakeGpu(energy_mj=None)]
    assert [c.name for c in opened()[1].columns] == ["GPU_w"]
    driver.gpus = [FakeGpu(instant_mw=None, usage_mw=None)]
    assert [c.name for c in opened()[1].columns] == ["GPU_j"]


def test_a_jetsons_gpu_that_supports_nothing_is_not_there(driver):
    driver.gpus = [FakeGpu(instant_mw=None, usage_mw=None, energy_mj=None)]
    there = NvmlMeter.probe(MeterRequest())
    assert (there.available, there.present) == (False, False) and "ina3221" in there.reason
    assert driver.started == 0


@pytest.mark.parametrize("uuid", ["GPU-bbbb", "bbbb"])
def test_the_gpu_is_the_one_torch_uses(driver, uuid):
    driver.gpus = [FakeGpu(), FakeGpu("GPU-bbbb", instant_mw=7)]
    assert opened(device_uuid=uuid)[0].read()[0] == 7


@pytest.mark.parametrize("request_", [{"options": {"index": "1"}}, {"address": "1"}, {"address": "GPU-bbbb"}])
def test_a_named_gpu_comes_before_the_one_torch_uses(driver, request_):
    driver.gpus = [FakeGpu(), FakeGpu("GPU-bbbb", instant_mw=7)]
    assert opened(device_uuid="GPU-aaaa", **request_)[0].read()[0] == 7


def test_several_gpus_without_a_choice_are_named(driver):
    driver.gpus = [FakeGpu(), FakeGpu("GPU-bbbb")]
    with pytest.raises(MeterError, match=r"several GPUs.*GPU-aaaa.*GPU-bbbb"):
        opened()
    there = NvmlMeter.probe(MeterRequest())
    assert there.present and not there.available
    for request in ({"device_uuid": "GPU-cccc"}, {"options": {"index": "2"}}):
        with pytest.raises(MeterError, match="GPU-aaaa"):
            opened(**request)


def test_one_call_that_fails_is_missing_and_all_that_fail_are_an_error(driver):
    meter, _ = opened()
    driver.gpus[0].energy_mj = None
    assert list(meter.read()) == [101_000, None]
    driver.gpus[0].instant_mw = None
    with pytest.raises(MeterError, match=r"nvml: .*nvidia-smi"):
        meter.read()


def test_opening_and_closing_leave_the_library_as_it_was(driver):
    meter, _ = opened()
    meter.close()
    meter.close()
    assert driver.started == 0
    with pytest.raises(MeterError):
        opened(device_uuid="GPU-none")
    assert driver.started == 0


def test_without_the_package_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    there = NvmlMeter.probe(MeterRequest())
    assert not there.present and "pip install" in there.reason
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: 550\n")
    assert NvmlMeter.probe(MeterRequest()).present


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="'index'"):
        NvmlMeter(MeterRequest(options={"indx": "0"}))
    with pytest.raises(ConfigError, match="not a number"):
        NvmlMeter(MeterRequest(options={"index": "first"}))

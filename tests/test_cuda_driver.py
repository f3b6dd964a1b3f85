"""Which GPU a number of CUDA's stands for: asked of a driver that a test builds, which numbers unlike GPUs as the real one does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest
import torch

from ebbench import cuda_driver
from ebbench.cuda_driver import gpu_uuid, uuid_of
from ebbench.errors import DeviceError
from ebbench.measuring import monitor
from ebbench.training.device import choose_device

SOURCE = Path(__file__).parent / "fake_libcuda.c"
SLOW, FAST = "11111111-2222-3333-4444-555555555501", "aabbccdd-2222-3333-4444-555555555502"
COMPILER = shutil.which("cc") or shutil.which("gcc")

Build = Callable[..., None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds the driver, in the form of a macro of its source, and takes it for this machine's; CUDA's variables are unset."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def build(*macros: str) -> None:
        library = tmp_path / "libcuda.so.1"
        flags = ["-shared", "-fPIC", *(f"-D{macro}" for macro in macros)]
        subprocess.run([COMPILER or "", *flags, "-o", str(library), str(SOURCE)], check=True)
        monkeypatch.setattr(cuda_driver, "LIBRARY", str(library))

    return build


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-nobody.so.1")


@pytest.mark.parametrize(
    ("order", "visible", "uuids"),
    [
        (None, None, [FAST, SLOW]),
        ("FASTEST_FIRST", "", []),
        ("PCI_BUS_ID", None, [SLOW, FAST]),
        (None, "1", [SLOW]),
        ("PCI_BUS_ID", "1", [FAST]),
        (None, "1,0", [SLOW, FAST]),
        (None, "GPU-11111111", [SLOW]),
        (None, "0,7,1", [FAST]),
    ],
)
def test_cudas_numbers_are_followed_through_its_order_and_what_is_visible(
    driver: Build, monkeypatch: pytest.MonkeyPatch, order: Optional[str], visible: Optional[str], uuids: Any
):
    for name, value in (("CUDA_DEVICE_ORDER", order), ("CUDA_VISIBLE_DEVICES", visible)):
        if value is not None:
            monkeypatch.setenv(name, value)
    driver()
    assert [uuid_of(number) for number in range(len(uuids))] == uuids
    reason = "cuDeviceGet failed: CUDA_ERROR_INVALID_DEVICE" if uuids else "cuInit failed: CUDA_ERROR_NO_DEVICE"
    with pytest.raises(DeviceError, match=f"^{reason}$"):
        uuid_of(len(uuids))


@pytest.mark.parametrize("macros", [("BEFORE_11_4",), ("BEFORE_11_4", "BEFORE_6_0")])
def test_an_older_driver_tells_it_by_the_older_call(driver: Build, macros: Any):
    driver(*macros)
    assert uuid_of(0) == FAST
    with pytest.raises(DeviceError, match=r"^cuDeviceGet failed: (CUDA_ERROR_INVALID_DEVICE|error 101)$"):
        uuid_of(2)


def test_a_driver_that_knows_no_uuid_is_said_to_be_too_old(driver: Build):
    driver("WITHOUT_UUID")
    with pytest.raises(DeviceError, match="too old to tell a GPU's UUID"):
        uuid_of(0)


def test_without_a_driver_the_reason_is_one_line(absent: None):
    with pytest.raises(DeviceError, match=r"^libcuda-of-nobody.so.1 cannot be loaded \(.*\)$") as raised:
        uuid_of(0)
    assert "\n" not in str(raised.value)


def test_what_torch_tells_is_believed_and_the_driver_is_left_alone(absent: None, caplog: pytest.LogCaptureFixture):
    assert gpu_uuid(1, "1-2", 2) == "GPU-1-2" and not caplog.messages


@pytest.mark.parametrize("count", [1, 2])
def test_where_nobody_tells_it_is_said_once_and_only_of_several(
    absent: None, count: int, caplog: pytest.LogCaptureFixture
):
    assert gpu_uuid(0, None, count) is None
    assert len(caplog.messages) == count - 1
    if count > 1:
        (line,) = caplog.messages
        assert line.startswith(
            "ebbench: which GPU cuda:0 is cannot be told (torch is older than 2.4, and libcuda-of-nobody"
        )
        assert "--meter nvml:GPU-" in line and "\n" not in line


@pytest.fixture
def old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch before 2.4 on two GPUs, whose properties hold no UUID; this process uses the second."""
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda, "set_device", lambda index: None)
    monkeypatch.setattr(cuda, "memory_reserved", lambda number: number)
    monkeypatch.setattr(cuda, "get_device_properties", lambda number: SimpleNamespace(name="GPU"))


def test_a_run_and_a_monitor_under_an_older_torch_mean_the_gpu_that_they_use(driver: Build, old_torch: None):
    driver()
    assert [choose_device(f"cuda:{number}").uuid for number in range(2)] == [f"GPU-{FAST}", f"GPU-{SLOW}"]
    assert monitor._device_uuid() == f"GPU-{SLOW}"


def test_under_an_older_torch_without_a_driver_a_run_goes_on_and_its_meter_has_to_be_named(
    absent: None, old_torch: None, caplog: pytest.LogCaptureFixture
):
    assert choose_device("cuda:1").uuid is None
    assert [line.split(" (")[0] for line in caplog.messages] == ["ebbench: which GPU cuda:1 is cannot be told"]

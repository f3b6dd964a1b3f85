"""Which device is meant, and what is said when it fails."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List

import pytest
import torch

from ebbench import session
from ebbench.config import Bench, Recipe
from ebbench.energy.phases import read_events
from ebbench.errors import ConfigError, DeviceError, UserError
from ebbench.rundir import RunDir
from ebbench.session import conduct
from ebbench.training.device import Device, choose_device, gpu_faults, reset_peak_memory
from ebbench.training.loop import Trainer

#: as torch 1.11, 2.11, and torch on a Jetson or with MIG say it
FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.43 GiB total capacity; 5.10 GiB already allocated)",
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.43 GiB of which 1.1 GiB is free.\nSee",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":838, please report a bug',
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
)
FAILED = (
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA unknown error - this may be due to an incorrectly set up environment",
)


@pytest.mark.parametrize("said", FULL)
def test_a_full_memory_is_one_line_that_says_what_to_do(said: str):
    with pytest.raises(
        DeviceError, match=r"^the memory of the GPU is full \(.*smaller batch_size$"
    ) as raised, gpu_faults():
        raise RuntimeError(said)
    assert ("(2.00 GiB more were asked for)" in str(raised.value)) == ("Tried" in said)


@pytest.mark.parametrize("said", FAILED)
def test_a_gpu_that_fails_is_one_line_that_says_what_to_do(said: str):
    with pytest.raises(DeviceError, match=r"^the GPU failed \(.*\); .*dmesg.*--resume") as raised, gpu_faults():
        raise RuntimeError(said)
    assert "asynchronously" not in str(raised.value)


def test_a_torch_for_other_gpus_is_named():
    with pytest.raises(
        UserError, match=r"^this torch \(.*\) is not built for this GPU \(.*\); install one that is$"
    ), gpu_faults():
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


def test_faults_of_ours_stay_what_they_are():
    for said in (
        "CUDA error: device-side assert triggered",
        "Expected all tensors to be on the same device, but found cuda:0 and cpu",
        "shape '[2]' is invalid",
    ):
        with pytest.raises(RuntimeError, match=said[:20].replace("[", r"\[")), gpu_faults():
            raise RuntimeError(said)


@pytest.mark.parametrize("name", ["cuda:", "cuda:one", "cuda:-1", "cuda:0,1", "gpu", "cuda0"])
def test_a_device_that_is_none_is_refused_and_the_names_are_said(name: str):
    with pytest.raises(ConfigError, match="a GPU is called cuda, or cuda:N"):
        choose_device(name)


def test_of_two_gpus_the_third_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="torch sees 2 GPUs, numbered from 0"):
        choose_device("cuda:2")


def test_the_gpu_that_is_meant_is_the_current_one_from_then_on(monkeypatch: pytest.MonkeyPatch):
    calls: List[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: calls.append(("set", index)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda index: calls.append(("wait", index)))
    known = SimpleNamespace(name="Orin", uuid="1-2")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: known if index == 1 else None)
    device = choose_device("cuda:1")
    device.synchronize()
    assert (device.name, device.title, device.uuid) == ("cuda:1", "Orin", "GPU-1-2")
    assert calls == [("set", 1), ("wait", 1)]


def test_a_run_begins_with_no_memory_of_the_one_before_it(monkeypatch: pytest.MonkeyPatch):
    class Model:
        """Held by a circle, as a network is by the frames of an exception."""

        def __init__(self) -> None:
            self.circle = self

    calls: List[Any] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(alive() is not None))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    alive = weakref.ref(Model())
    reset_peak_memory("cuda:1")
    assert calls == [False, torch.device("cuda:1")]


def test_a_gpu_that_is_lost_in_a_step_leaves_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = Recipe(
        model="vgg16-small",
        dataset="synthetic",
        epochs=2,
        batch_size=8,
        train_images=16,
        test_images=8,
        checkpoint_s=0.001,
    )
    step, is_lost = Trainer._train_step, []  # type: ignore[var-annotated]

    def lost(*_: Any) -> None:
        if is_lost:
            raise RuntimeError("CUDA error: unspecified launch failure")

    def losing(trainer: Trainer, *batch: Any) -> torch.Tensor:
        is_lost.extend([True] if trainer.state.epoch == 1 else [])
        lost()
        return step(trainer, *batch)

    bench = Bench(meters=("sim",), idle_s=0.0, amplify_s=0.0)
    monkeypatch.setattr(session, "choose_device", lambda name: Device("cpu", "CPU", None, lost))
    with monkeypatch.context() as patches:
        patches.setattr(Trainer, "_train_step", losing)
        with pytest.raises(DeviceError, match=r"^the GPU failed \(CUDA error: unspecified launch failure\)"):
            conduct(recipe, bench, tmp_path, may_simulate=True)
    (folder,) = tmp_path.iterdir()
    events: List[Any] = read_events(RunDir(folder).phases)
    assert (events[-1]["status"], events[-1]["reason"][:14]) == ("aborted", "the GPU failed")
    assert all(e["failed"] for e in events if e["event"] == "end" and e["path"] in ("train", "train/epoch-2"))
    is_lost.clear()
    assert conduct(recipe, bench, tmp_path, may_simulate=True, resume=True).status == "success"

"""Which GPUs an `EnergyMonitor` waits for, and which one it asks a meter for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import List

import pytest
import torch

from ebbench.measuring import monitor


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """The GPUs that were waited for; there are three, and the first is the current one."""
    found: List[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "synchronize", found.append)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"uuid-{number}"))
    return found


@pytest.mark.parametrize(
    ("reserved", "used", "uuid"),
    [
        ({}, [0], "GPU-uuid-0"),  # none yet
        ({0: 1}, [0], "GPU-uuid-0"),
        ({2: 1}, [2], "GPU-uuid-2"),  # model.to("cuda:2"), which does not make it the current one
        ({0: 1, 2: 1}, [0, 2], None),
    ],
)
def test_every_gpu_with_memory_of_this_process_is_waited_for_and_a_single_one_is_measured(
    reserved, used, uuid, waited: List[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda number: reserved.get(number, 0))
    monitor._synchronize()
    assert waited == used
    assert monitor._device_uuid() == uuid


def test_without_cuda_there_is_nothing_to_wait_for(waited: List[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monitor._synchronize()
    assert waited == [] and monitor._device_uuid() is None

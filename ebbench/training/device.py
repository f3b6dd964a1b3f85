"""The accelerator: which one, how to wait for it, and its identity for the meter that measures it."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import Callable, Optional

import torch

from ebbench.errors import UserError
from ebbench.training import heap


@dataclass(frozen=True)
class Device:
    """A torch device as the harness needs it; `synchronize` returns when all work queued on it is done."""

    name: str
    title: str
    uuid: Optional[str]
    synchronize: Callable[[], None]


def choose_device(name: str) -> Device:
    """``auto`` is the first CUDA device where torch sees one, else the CPU. Asking for what is not there is refused."""
    # cuBLAS reads this once, before its first call; without it deterministic matrix products are refused
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return Device("cpu", "CPU", None, lambda: None)
    if not torch.cuda.is_available():
        raise UserError(
            f"--device {name}: this torch ({torch.__version__}) sees no GPU; install a torch built for it, or use --device cpu"
        )
    index = torch.device(name).index or 0
    if index >= torch.cuda.device_count():
        raise UserError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, numbered from 0")
    properties = torch.cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)  # torch 2.4 and newer; NVML falls back on the index
    return Device(
        f"cuda:{index}", properties.name, f"GPU-{uuid}" if uuid else None, lambda: torch.cuda.synchronize(index)
    )


def peak_memory_bytes(device: str) -> int:
    """Peak memory of the training so far: of the GPU's allocator, or this process's resident set."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    with open("/proc/self/status") as handle:
        found = re.search(r"VmHWM:\s+(\d+) kB", handle.read())
    assert found, "every Linux since 2.6 states VmHWM"
    return int(found.group(1)) * 1024


def reset_peak_memory(device: str) -> None:
    """Start the peak of `peak_memory_bytes` anew, so that a run does not inherit the one before it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(torch.device(device))
    else:
        heap.give_back()
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as handle:
            handle.write("5")  # resets VmHWM (proc(5)); not there on macOS

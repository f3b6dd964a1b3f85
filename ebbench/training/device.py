"""The accelerator: which one, how to wait for it, and its identity for the meter that measures it."""

from __future__ import annotations

import contextlib
import gc
import os
import re
from dataclasses import dataclass
from typing import Callable, Iterator, Optional

import torch

from ebbench.cuda_driver import gpu_uuid
from ebbench.errors import ConfigError, DeviceError, UserError
from ebbench.training import heap

#: in what torch says when a GPU's memory is full; the last is the allocator's where NVML cannot be asked how full it is,
#: as on a Jetson or with MIG (PyTorch issues 112377, 185240)
_FULL = ("CUDA out of memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED", "NVML_SUCCESS == ")
#: when a GPU or its driver has failed: an error of CUDA itself or of its libraries, but for one that a wrong index brings about
_FAILED = ("CUDA error", "CUDA driver", "CUDA unknown error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS")
_WRONG_INDEX = "device-side assert"
#: and when it was built for other GPUs
_FOREIGN = "no kernel image"


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
    if re.fullmatch(r"cuda(:\d+)?", name) is None:
        raise ConfigError(f"--device {name}: a GPU is called cuda, or cuda:N with its number, such as cuda:1")
    if not torch.cuda.is_available():
        raise UserError(
            f"--device {name}: this torch ({torch.__version__}) sees no GPU; install a torch built for it, or use --device cpu"
        )
    index, count = int(name.partition(":")[2] or 0), torch.cuda.device_count()
    if index >= count:
        raise UserError(f"--device {name}: torch sees {count} GPU{'s' if count > 1 else ''}, numbered from 0")
    with gpu_faults():
        torch.cuda.set_device(index)  # else some calls of torch would take memory of the first GPU too
        properties = torch.cuda.get_device_properties(index)
    uuid = gpu_uuid(index, getattr(properties, "uuid", None), count)
    return Device(f"cuda:{index}", properties.name, uuid, lambda: torch.cuda.synchronize(index))


@contextlib.contextmanager
def gpu_faults() -> Iterator[None]:
    """Around what uses a GPU: memory that is full, and a GPU that fails or is gone, become a DeviceError of one line."""
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split("\n")[0].split())
        if any(words in said for words in _FULL):
            asked = re.search("Tried to allocate ([0-9.]+ .iB)", said)
            raise DeviceError(
                f"the memory of the GPU is full ({f'{asked[1]} more were asked for' if asked else said}); end other programs that "
                "use it (--resume goes on with a run), or take a smaller batch_size"
            ) from error
        if _FOREIGN in said:
            raise UserError(
                f"this torch ({torch.__version__}) is not built for this GPU ({said}); install one that is"
            ) from error
        if any(words in said for words in _FAILED) and _WRONG_INDEX not in said:
            raise DeviceError(
                f"the GPU failed ({said}); `sudo dmesg` says what its driver saw; go on with --resume once it works again"
            ) from error
        raise


def peak_memory_bytes(device: str) -> int:
    """Peak memory of the training so far: of the GPU's allocator, or this process's resident set."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    with open("/proc/self/status") as handle:
        found = re.search(r"VmHWM:\s+(\d+) kB", handle.read())
    assert found, "every Linux since 2.6 states VmHWM"
    return int(found.group(1)) * 1024


def reset_peak_memory(device: str) -> None:
    """Start the peak of `peak_memory_bytes` anew, and with no more memory kept than is in use: a run inherits none from another."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(torch.device(device))
    else:
        heap.give_back()
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as handle:
            handle.write("5")  # resets VmHWM (proc(5)); not there on macOS

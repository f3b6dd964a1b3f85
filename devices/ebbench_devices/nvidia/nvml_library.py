"""NVIDIA's library (NVML) for those that use it: `nvml`, the meter, and `nvml_state`. The only module that loads it."""

from __future__ import annotations

import importlib
from typing import Any

from ebbench.environment import read_text
from ebbench.errors import MeterError


class Absent(MeterError):
    """There is no GPU here that could be read."""


def load() -> Any:
    """The library, started. Raises Absent where there is no NVIDIA driver or no Python package for it."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise _unusable("nvml: nvidia-ml-py is not installed; pip install 'ebbench[nvidia]'") from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise _unusable(f"nvml: {error}; check nvidia-smi") from error
    return nvml


def _unusable(text: str) -> MeterError:
    """With a loaded driver there is a GPU, and its sensor only needs mending; without one there is none."""
    return MeterError(text) if read_text("/proc/driver/nvidia/version") else Absent(text)


def text_of(value: Any) -> str:
    """Older versions of the package give bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def bare(uuid: str) -> str:
    """A GPU's UUID without its prefix, which torch leaves out."""
    return uuid.replace("GPU-", "", 1)

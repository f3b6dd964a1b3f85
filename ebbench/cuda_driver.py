"""NVIDIA's CUDA driver (libcuda), asked for one thing: which GPU a number of CUDA's stands for. The only module that loads it.

CUDA numbers the GPUs that a process may see: fastest first, or by the PCI bus (``CUDA_DEVICE_ORDER``), and of those in
``CUDA_VISIBLE_DEVICES`` alone. NVML numbers all of them by the PCI bus. What both agree on is the UUID. Torch tells it from 2.4 on;
for an older one the driver does, which follows both variables itself (CUDA Driver API, Device Management: ``cuDeviceGet``,
``cuDeviceGetUuid``).
"""

from __future__ import annotations

import ctypes
import logging
import uuid
from typing import Any, Optional

from ebbench.errors import DeviceError

LIBRARY = "libcuda.so.1"
#: the second knows parts of a split GPU by their own UUID; drivers before CUDA 11.4 have the first alone
_CALLS = ("cuDeviceGetUuid_v2", "cuDeviceGetUuid")


def uuid_of(number: int) -> str:
    """The UUID of CUDA's GPU `number`, without a prefix. Raises DeviceError with the reason where the driver does not tell.

    It starts the driver in this process, as every use of a GPU does.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise DeviceError(f"{LIBRARY} cannot be loaded ({error})") from error
    call = next((name for name in _CALLS if hasattr(driver, name)), None)
    if call is None:
        raise DeviceError(f"{LIBRARY} is too old to tell a GPU's UUID")
    device, found = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    _ask(driver, "cuInit", ctypes.c_uint(0))
    _ask(driver, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(number))
    _ask(driver, call, ctypes.byref(found), device)
    return str(uuid.UUID(bytes=bytes(found)))


def _ask(driver: Any, name: str, *arguments: Any) -> None:
    result = getattr(driver, name)(*arguments)
    if result != 0:
        raise DeviceError(f"{name} failed: {_name_of(driver, result)}")


def _name_of(driver: Any, result: int) -> str:
    """The name of an error, such as CUDA_ERROR_NO_DEVICE, or its number."""
    name = ctypes.c_char_p()
    if not hasattr(driver, "cuGetErrorName") or driver.cuGetErrorName(ctypes.c_int(result), ctypes.byref(name)) != 0:
        return f"error {result}"
    return (name.value or b"?").decode(errors="replace")


def gpu_uuid(number: int, told: Optional[Any], count: int) -> Optional[str]:
    """``GPU-<UUID>`` of CUDA's GPU `number` of `count`: as torch `told` it, else as the driver does.

    None where neither does. Where there are several, one line then says so: which one is measured is then to be named.
    """
    if told:
        return f"GPU-{told}"
    try:
        return f"GPU-{uuid_of(number)}"
    except DeviceError as error:
        if count > 1:
            logging.getLogger("ebbench").warning(
                "ebbench: which GPU cuda:%d is cannot be told (torch is older than 2.4, and %s); name the one that is measured, as "
                "in --meter nvml:GPU-... (nvidia-smi -L lists them)",
                number,
                error,
            )
        return None

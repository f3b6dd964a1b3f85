"""The INA3221 meter over a fake tree, reading as on a board: nothing replaces the kernel's files, so none is looked up anew."""

from __future__ import annotations

from ebbench_devices.ina3221 import Ina3221Meter
from ebbench_devices.kernel import sysfs

__all__ = ["Ina3221Meter"]

sysfs.is_simulated_root = lambda: False

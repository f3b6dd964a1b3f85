"""A rail of an INA3221 as the kernel shows it: which files it has, and what they say together."""

from __future__ import annotations

from typing import Optional, Sequence, Union

import numpy as np

from ebbench.errors import MeterError
from ebbench.protocols import NumberFile
from ebbench_devices.kernel.sysfs import FileReader
from ebbench_devices.nvidia.ina3221_chips import Channel

VOLTAGE_EVERY = 10  # sweeps


class IioRail:
    """A rail of NVIDIA's driver, which has a power of its own."""

    #: of its files the one that tells when each of its columns was read
    TIMED_BY = (0, 1, 2)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.files = [FileReader(channel.file(quantity)) for quantity in ("power", "voltage", "current")]
        self._power, self._voltage, self._current = self.files

    def read(self, slow: bool) -> Sequence[Optional[int]]:
        """Power (mW), and when it is `slow` volts (mV) and amperes (mA)."""
        power_mw = _try_int(self._power)
        return (power_mw, self.read_voltage_mv(), _try_int(self._current)) if slow else (power_mw, None, None)

    def read_voltage_mv(self) -> Optional[int]:
        """The bus voltage now."""
        return _try_int(self._voltage)

    def numbers(self, next_slow: int) -> Sequence[NumberFile]:
        """Its files for sweeps without `read`, of which the first that is slow comes after so many."""
        slow = [file.as_number(VOLTAGE_EVERY, next_slow) for file in (self._voltage, self._current)]
        return [self._power.as_number(), *slow]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """What those sweeps read (float64 [n, 3]), as `read` gives it."""
        return numbers


class HwmonRail:
    """A rail of the mainline driver: amperes, and volts that are kept in between."""

    #: of its files the one that tells when each of its columns was read: the current's
    TIMED_BY = (1, 1, 1)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.files = [FileReader(channel.file(quantity)) for quantity in ("voltage", "current")]
        self._voltage, self._current = self.files
        self._volts_mv: Optional[int] = None

    def read(self, slow: bool) -> Sequence[Optional[int]]:
        """Power (uW), volts (mV) when they are read, amperes (mA)."""
        read_mv = None
        if slow or self._volts_mv is None:  # after a failure it is tried at once
            read_mv = self.read_voltage_mv()
        current_ma = _try_int(self._current)  # last, so that the rail's offset in the sweep is the current's
        power_uw = None if current_ma is None or self._volts_mv is None else current_ma * self._volts_mv
        return power_uw, read_mv, current_ma

    def read_voltage_mv(self) -> Optional[int]:
        """The bus voltage now."""
        self._volts_mv = _try_int(self._voltage)
        return self._volts_mv

    def numbers(self, next_slow: int) -> Sequence[NumberFile]:
        """Its files for sweeps without `read`, of which the first that is slow comes after so many; the current's last."""
        next_in = 0 if self._volts_mv is None else next_slow
        return [self._voltage.as_number(VOLTAGE_EVERY, next_in), self._current.as_number()]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """What those sweeps read (float64 [n, 2]), as `read` gives it: float64 [n, 3]."""
        read_mv, current_ma = numbers.T
        known = np.flatnonzero(~np.isnan(read_mv))
        last_mv = np.append(np.nan if self._volts_mv is None else self._volts_mv, read_mv[known])
        of_each = last_mv[np.searchsorted(known, np.arange(len(numbers)), side="right")]
        self._volts_mv = int(of_each[-1]) if len(of_each) else self._volts_mv
        return np.column_stack([current_ma * of_each, read_mv, current_ma])


InaRail = Union[IioRail, HwmonRail]


def _try_int(file: FileReader) -> Optional[int]:
    """The number, or None where the sensor did not answer."""
    try:
        return file.read_int()
    except MeterError:
        return None

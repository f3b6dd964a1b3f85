"""The INA3221 power monitors on a Jetson's module, through the kernel's files; needs no root.

Two drivers, two layouts (L4T 32: NVIDIA's ``ina3221x``, iio; JetPack 5 and newer: mainline ``ina3221``, hwmon):

* iio gives the power of one conversion in milliwatts, read every sweep. Volts and amperes every 10th.
* hwmon has no power file and waits for a new conversion at each read (about 6.6 ms), so the current is read every sweep and
  the bus voltage, which barely moves, every 10th; power is their product, in microwatts, from whole millivolts and
  milliamperes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, INSTANT, Availability, Column, MeterInfo, MeterRequest, NumberFile, Rail
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options
from ebbench_devices.nvidia.ina3221_chips import (
    HWMON,
    IIO,
    MODULE_INPUTS,
    Channel,
    channels,
    chips,
    settings,
    total_of,
    uncertainty,
)
from ebbench_devices.nvidia.ina3221_rails import VOLTAGE_EVERY, HwmonRail, IioRail, InaRail

DEFAULT_RATE_HZ = {IIO: 100.0, HWMON: 20.0}


class Ina3221Meter:
    """All rails of all INA3221 of the board, the total's first."""

    def __init__(self, request: MeterRequest) -> None:
        self._options = Options("ina3221", request, (*DOUBTS, *LATENESS))
        self._options.applied(Rail("any", "rail"))  # what the user states is checked before anything is read
        if request.address:
            raise ConfigError(f"ina3221: unknown address {request.address!r}; it takes none, it finds its rails itself")
        self._board = request.board
        self._rails: List[InaRail] = []
        self._next_slow = 0  # sweeps until the volts are read
        #: when each column of the last sweep was read, after its start (ns)
        self.offsets_ns: List[int] = []

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Look for chips and read the total once."""
        scope = str((request.board or {}).get("scope", "module"))
        simulated = is_simulated_root()
        if not chips():
            expected = [r for r in (request.board or {}).get("rails", []) if r.get("sensor", "ina3221") == "ina3221"]
            reason = "no INA3221 under /sys/bus/i2c/drivers/ina3221x or ina3221"
            if expected:
                reason += (
                    f", although a {request.board['title']} has one; load its driver, or mount /sys in the container"  # type: ignore[index]
                )
            return Availability(False, bool(expected), reason, scope, simulated)
        meter = cls(replace(request, address=None, options={}))
        try:
            info = meter.open()
            meter.read()
        except MeterError as error:
            return Availability(False, True, str(error), scope, simulated)
        finally:
            meter.close()
        names = ", ".join(rail.name for rail in info.rails)
        if not info.total:
            reason = f"which of its rails ({names}) make up the board is not known; name the board with --board"
            return Availability(False, True, reason, scope, simulated)
        return Availability(
            True, True, f"{len(info.rails)} rails, total {' + '.join(info.total)}", info.scope, simulated
        )

    def open(self) -> MeterInfo:
        """Open every file once. A rail that cannot be opened is left out and named; one of the total raises."""
        found = channels(self._board)
        if not found:
            raise MeterError(
                "no INA3221 rail under /sys/bus/i2c/drivers/ina3221x or ina3221; load its driver or use --meter"
            )
        total = total_of(found, self._board)
        found.sort(key=lambda channel: total.index(channel.name) if channel.name in total else len(total))
        left_out: Dict[str, str] = {}
        for channel in found:
            try:
                self._rails.append(IioRail(channel) if channel.layout == IIO else HwmonRail(channel))
            except MeterError as error:
                if channel.name in total:
                    self.close()
                    raise
                left_out[channel.name] = str(error)
        if not self._rails:
            raise MeterError(f"no rail of the INA3221 can be read: {next(iter(left_out.values()))}")
        return self._info(total, left_out)

    def _info(self, total: Tuple[str, ...], left_out: Mapping[str, str]) -> MeterInfo:
        opened = [rail.channel for rail in self._rails]
        layout = opened[0].layout
        rails = tuple(self._options.applied(_facts_of(rail.channel, rail.read_voltage_mv())) for rail in self._rails)
        power_scale = {IIO: 1e-3, HWMON: 1e-6}
        columns: List[Column] = []
        for channel in opened:
            columns.append(Column(f"{channel.name}_w", power_scale[channel.layout], raw=True))
            columns += [Column(f"{channel.name}_{unit}", 1e-3, raw=True) for unit in ("v", "a")]
        identity = {
            "layout": layout,
            "power": "driver's own, V and I of one conversion"
            if layout == IIO
            else f"I x V, V every {VOLTAGE_EVERY} sweeps",
            "total_from": "board" if "total" in (self._board or {}) else "name",
            "left_out": dict(left_out),
            "chips": {chip: settings(folder, kind) for chip, kind, folder in chips()},
            "rails": {c.name: {"chip": c.chip, "channel": c.number, "shunt_ohm": c.shunt_ohm} for c in opened},
        }
        scope = str((self._board or {}).get("scope", "module"))
        rate_hz = DEFAULT_RATE_HZ[layout]
        return MeterInfo("ina3221", scope, is_simulated_root(), rails, tuple(columns), total, rate_hz, None, identity)

    def read(self) -> Sequence[Optional[float]]:
        """Raw integers per rail: power (mW on iio, uW on hwmon), mV, mA. A rail that fails is None in this sweep.

        Raises MeterError when no rail could be read.
        """
        slow = self._next_slow == 0
        self._next_slow = (self._next_slow - 1) % VOLTAGE_EVERY
        start_ns = monotonic_ns()
        values: List[Optional[float]] = []
        offsets_ns: List[int] = []
        for rail in self._rails:
            values += rail.read(slow)
            offsets_ns += [monotonic_ns() - start_ns] * 3
        self.offsets_ns = offsets_ns
        if all(value is None for value in values[::3]):
            raise MeterError(self._first_reason())
        return values

    def files(self) -> Sequence[NumberFile]:
        """The files of each rail, the total's first."""
        return [file for rail in self._rails for file in rail.numbers(self._next_slow)]

    def take(self, numbers: np.ndarray, offsets_ns: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Raw integers and their times as `read` gives them, of sweeps that were made without it."""
        self._next_slow = (self._next_slow - len(numbers)) % VOLTAGE_EVERY
        values, times_ns, at = [], [], 0
        for rail in self._rails:
            own = slice(at, at + len(rail.files))
            values.append(rail.take(numbers[:, own]))
            times_ns.append(offsets_ns[:, own][:, rail.TIMED_BY])
            at = own.stop
        return np.concatenate(values, axis=1), np.concatenate(times_ns, axis=1)

    def _first_reason(self) -> str:
        """Why the first rail cannot be read, in the words of its file."""
        for file in self._rails[0].files:
            try:
                file.read_int()
            except MeterError as error:
                return str(error)
        return "no rail of the INA3221 answered in this sweep"

    def close(self) -> None:
        """Close every file."""
        for rail in self._rails:
            for file in rail.files:
                file.close()
        self._rails = []


def _facts_of(channel: Channel, volts_mv: Optional[int]) -> Rail:
    """The rail's meaning; how the chip averages is taken from hwmon's files, and not known on iio."""
    scope = channel.facts.get("scope", "module" if channel.name in MODULE_INPUTS else "rail")
    chip = settings(channel.folder, channel.layout)
    period_s = chip["update_interval"] * 1e-3 if chip.get("update_interval") else None
    averaging_s = _averaging_s(chip.get("samples"), period_s)
    return Rail(
        channel.name,
        str(scope),
        channel.facts.get("inside_of"),
        kind=AVERAGE if averaging_s else INSTANT,
        update_period_s=period_s,
        averaging_s=averaging_s,
        **uncertainty(channel.shunt_ohm, volts_mv * 1e-3 if volts_mv else None),
    )


def _averaging_s(samples: Optional[int], period_s: Optional[float]) -> Optional[float]:
    """Over how long the chip averages, by the conversions in a mean and the time from one mean to the next; None: unknown."""
    return 0.0 if samples == 1 else period_s if samples else None

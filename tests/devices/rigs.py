"""The other end of every meter that is not built into a board: on this machine, showing a stated power, failing as it is told.

A rig speaks over the meter's real transport. `spoil` makes it fail from now on, in one of the ways of `FAULTS`; `mend` puts it
right again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import http_devices
from executable import write_executable
from line_devices import FULL, Feeder, SerialDevice, TcpDevice, WattsUp
from ptdaemon_server import PtdaemonServer
from scpi_instrument import PowerMeter, Supply, TcpInstrument

from ebbench import plugins
from ebbench.protocols import MeterRequest

#: it says nothing for longer than it is waited for; it hangs up in the middle of an answer; its numbers are of another unit, more
#: than anything can be, or none; it goes away and comes back
STALLS, HALF, UNIT, OVERFLOW, NAN, GONE = FAULTS = ("stalls", "half", "unit", "overflow", "nan", "gone")


class Rig:
    """`request` opens the meter, `broken` names an address where nobody is."""

    name, rate_hz, options = "", 20.0, {}
    broken = None

    def __init__(self, folder, wave):
        self.folder, self.wave = folder, wave
        self.start()
        self.request = MeterRequest(self.address(), {"scope": "wall", **self.options}, rate_hz=self.rate_hz)

    @property
    def factory(self):
        return plugins.registered(plugins.METERS)[self.name]

    def start(self):
        """Bring the other end up."""

    def address(self):
        return None

    def spoil(self, fault):
        raise NotImplementedError

    def mend(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError


def free_port():
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class ScpiRig(Rig):
    """A bench supply that knows its power."""

    name, options = "scpi", {"timeout_s": 0.3}
    FAULTS = {HALF: "cut off"}

    def instrument(self):
        return Supply(wave=self.wave)

    def start(self, port=0):
        self.wire = TcpInstrument(self.instrument(), port)
        self.wire.__enter__()
        self.broken = MeterRequest(f"TCPIP::127.0.0.1::{free_port()}::SOCKET", {"scope": "wall", **self.options})

    def address(self):
        return self.wire.resource

    def spoil(self, fault):
        if fault == GONE:
            self.close()
        self.wire.other_end.fault = self.FAULTS.get(fault, fault)

    def mend(self):
        if self.wire.other_end.fault == GONE:
            self.start(self.wire.port)
        self.wire.other_end.fault = None

    def close(self):
        self.wire.__exit__()


class Wt300Rig(ScpiRig):
    """A Yokogawa with its integrator."""

    options = {"timeout_s": 0.3, "voltage_range_v": 15, "current_range_a": 5}

    def instrument(self):
        return PowerMeter(update_s=0.1, wave=self.wave)


class PtdaemonRig(Rig):
    name, options = "ptdaemon", {"voltage_range_v": 15, "current_range_a": 5, "timeout_s": 0.3}
    FAULTS = {HALF: "cut off"}

    def start(self, port=0):
        self.server = PtdaemonServer(port, wave=self.wave)
        self.server.__enter__()
        self.broken = MeterRequest(f"127.0.0.1:{free_port()}", {"scope": "wall", **self.options})

    def address(self):
        return f"127.0.0.1:{self.server.port}"

    def spoil(self, fault):
        if fault == GONE:
            self.close()
        self.server.fault = self.FAULTS.get(fault, fault)

    def mend(self):
        if self.server.fault == GONE:
            self.start(self.server.port)
        self.server.fault = None

    def close(self):
        self.server.__exit__()


class ShellyRig(Rig):
    name, options, rate_hz = "shelly", {"timeout_s": 0.3, "update_s": 0.05}, 10.0
    answers, power = staticmethod(http_devices.shelly_gen2()), b'{"apower": %s}'

    def start(self, port=0):
        self.plug = http_devices.Device(self.answers, self.wave, self.options["update_s"], port=port)
        self.broken = MeterRequest(f"http://127.0.0.1:{free_port()}", {"scope": "wall", **self.options})

    def address(self):
        return self.plug.address

    def spoil(self, fault):
        if fault == GONE:
            self.close()
            return
        self.plug.fault = {
            STALLS: http_devices.hangs,
            HALF: http_devices.cut_off,
            UNIT: http_devices.says(self.power % b'"0.0125 kW"'),
            OVERFLOW: http_devices.says(self.power % b"9.9E37"),
            NAN: http_devices.says(self.power % b"NaN"),
        }[fault]

    def mend(self):
        self.plug.released.set()
        if self.plug.fault is None:
            self.start(self.plug.server_address[1])
        self.plug.fault = None

    def close(self):
        self.plug.stop()


class TasmotaRig(ShellyRig):
    name, answers = "tasmota", staticmethod(http_devices.tasmota())
    power = b'{"StatusSNS": {"ENERGY": {"Power": %s, "Total": 1.5}}}'


class TcpRig(Rig):
    """Lines of text; a fault is another line, or none."""

    name, options = "tcp", {"pattern": r"P=(\S+) W", "unit": "W", "timeout_s": 0.3}
    LINES = {STALLS: None, UNIT: b"P=12500 mW\n", OVERFLOW: b"P=9.9E37 W\n", NAN: b"P=NaN W\n"}

    def start(self):
        self.fault = None
        self.plug_in()
        self.feeder = Feeder(self.send, self.line, 1 / self.rate_hz)
        self.broken = MeterRequest(f"127.0.0.1:{free_port()}", {"scope": "wall", **self.options})

    def plug_in(self):
        self.device = TcpDevice(self.device.port if hasattr(self, "device") else 0)

    def unplug(self):
        self.device.stop()

    def address(self):
        return self.device.address

    def send(self, data):
        self.device.send(data)

    def line(self, at_s):
        return b"P=%.3f W\n" % self.wave.power_w(at_s) if self.fault is None else self.LINES.get(self.fault)

    def spoil(self, fault):
        self.fault = fault
        if fault == HALF:
            self.send(b"P=1")
        if fault in (HALF, GONE):
            self.unplug()

    def mend(self):
        if self.fault in (HALF, GONE):
            self.plug_in()
        self.fault = None

    def close(self):
        self.feeder.stop()
        if self.fault not in (HALF, GONE):
            self.unplug()


class SerialRig(TcpRig):
    name = "serial"

    def plug_in(self):
        if not hasattr(self, "device"):
            self.device = SerialDevice(self.folder / "ttyUSB0")
        self.device.plug_in()
        self.broken = MeterRequest(str(self.folder / "ttyUSB9"), {"scope": "wall", **self.options})

    def unplug(self):
        self.device.pull()

    def address(self):
        return self.device.path


class WattsUpRig(Rig):
    """A record is the mean power since the one before, in tenths of a watt."""

    name, rate_hz, period_s = "wattsup", None, 0.05
    RECORDS = {
        STALLS: None,
        UNIT: FULL.replace(b"125,", b"12.5,"),
        OVERFLOW: FULL.replace(b"125,", b"9" * 30 + b",", 1),
        NAN: FULL.replace(b"125,", b"_,", 1),
    }

    def start(self):
        self.device = WattsUp(self.folder / "ttyUSB1", self.period_s)
        self.device.record = self.record
        self.broken = MeterRequest(str(self.folder / "ttyUSB9"), {"scope": "wall"})

    def record(self, at_s):
        mean_w = self.wave.energy_j(at_s - self.period_s, at_s) / self.period_s
        return FULL.replace(b"125,", b"%d," % round(10 * mean_w), 1)

    def address(self):
        return self.device.path

    def spoil(self, fault):
        self.device.record = self.RECORDS.get(fault)
        if fault == HALF:
            self.device.send(FULL[:10])
        self.unplugged = fault in (HALF, GONE)
        if self.unplugged:
            self.device.pull()

    def mend(self):
        if self.unplugged:
            self.device.heard = b""
            self.device.running.clear()
            self.device.plug_in()
        self.device.record = self.record

    def close(self):
        self.device.close()


class CsvRig(Rig):
    """Another program that writes a row every 50 ms."""

    name, rate_hz = "csv", None
    options = {"offset_bound_s": 0, "time_unit": "ns"}
    CELLS = {UNIT: "12.5 V", OVERFLOW: "9.9E37", NAN: "NaN"}

    def start(self):
        self.log, self.fault, self.lock = self.folder / "power.csv", None, threading.Lock()
        self.broken = MeterRequest(str(self.folder / "absent.csv"), {"scope": "wall", **self.options})
        self.write("w", "time_ns,A_w\n")
        self.feeder = Feeder(lambda row: self.write("a", row), self.row, 0.05)

    def address(self):
        return str(self.log)

    def write(self, mode, text):
        with self.lock, open(self.log, mode) as log:
            log.write(text)

    def row(self, at_s):
        if self.fault in (STALLS, HALF, GONE):
            return None
        return f"{time.time_ns()},{self.CELLS.get(self.fault) or format(self.wave.power_w(at_s), '.3f')}\n"

    def spoil(self, fault):
        self.fault = fault
        if fault == HALF:
            self.write("a", f"{time.time_ns()},1")
        if fault in (HALF, GONE):
            self.log.rename(self.log.with_name("power.csv.1"))

    def mend(self):
        if self.fault in (HALF, GONE):
            self.write("w", "time_ns,A_w\n")
        self.fault = None

    def close(self):
        self.feeder.stop()


class TegrastatsRig(Rig):
    """The program, below the sensors' root, which prints what the file ``says`` holds."""

    name, rate_hz = "tegrastats", 10.0
    SCRIPT = (
        '#!/bin/sh\nwhile :; do\n [ -e "$0.half" ] && { printf "VDD_IN 1"; exit 1; }\n'
        ' [ -e "$0.stalls" ] || cat "$0.says"\n sleep "$(printf 0.%03d "$2")"\ndone\n'
    )
    WORDS = {UNIT: "VDD_IN 12W/12W\n", OVERFLOW: f"VDD_IN {'9' * 30}/1\n", NAN: "VDD_IN nan/nan\n"}

    def __init__(self, folder, wave):
        super().__init__(folder, wave)
        self.request = MeterRequest(board={"total": ["VDD_IN"], "scope": "module"}, rate_hz=self.rate_hz)

    def start(self):
        self.program = Path(os.environ["EBBENCH_SYSFS_ROOT"]) / "usr/bin/tegrastats"
        self.program.parent.mkdir(parents=True, exist_ok=True)
        self.fault = None
        self.say(self.words(time.monotonic()))
        self.install()
        self.feeder = Feeder(self.say, self.words, 0.02)

    def words(self, at_s):
        return self.WORDS.get(self.fault, f"RAM 1/2MB VDD_IN {round(1000 * self.wave.power_w(at_s))}/12400\n")

    def install(self):
        write_executable(self.program, self.SCRIPT)

    def file(self, name):
        return self.program.with_name(f"tegrastats.{name}")

    def say(self, words):
        new = self.file("new")
        new.write_text(words)
        new.replace(self.file("says"))

    def spoil(self, fault):
        self.fault = fault
        if fault == GONE:
            self.program.unlink()
        if fault in (HALF, GONE):
            self.file("half").touch()
        if fault == STALLS:
            self.file("stalls").touch()

    def mend(self):
        for name in ("half", "stalls"):
            with contextlib.suppress(FileNotFoundError):
                self.file(name).unlink()
        self.fault = None
        self.install()

    def close(self):
        """The program itself is ended by its meter."""
        self.feeder.stop()


class JoulescopeRig(Rig):
    """The maker's device classes, and an instrument that sends 50 blocks a second to them."""

    name, rate_hz = "joulescope", 50.0
    factory = "fake_joulescope:SendingMeter"

    def start(self):
        from fake_joulescope import SendingDriver

        device = Path(os.environ["EBBENCH_SYSFS_ROOT"]) / "sys/bus/usb/devices/1-1"  # as the kernel sees it
        device.mkdir(parents=True, exist_ok=True)
        (device / "idVendor").write_text("16d0\n")
        (device / "idProduct").write_text("10ba\n")
        self.driver, self.paths = SendingDriver(self.wave), []
        self.broken = MeterRequest("no-such-serial", {"scope": "wall"})

    def spoil(self, fault):
        self.driver.silent = fault == STALLS
        self.driver.spoil = {
            HALF: self.half,
            UNIT: self.milliwatts,
            OVERFLOW: self.power(9.9e37),
            NAN: self.power(float("nan")),
        }.get(fault)
        if fault in (HALF, GONE):
            time.sleep(0.05)  # some blocks come that are not whole
            self.paths = self.driver.unplug()

    @staticmethod
    def half(block):
        return {**block, "signals": {}}

    @staticmethod
    def milliwatts(block):
        power = block["signals"]["power"]
        power["avg"] = {"value": 1000 * power["avg"]["value"], "units": "mW"}
        return block

    @staticmethod
    def power(power_w):
        def spoil(block):
            block["signals"]["power"]["avg"]["value"] = power_w
            return block

        return spoil

    def mend(self):
        self.driver.silent, self.driver.spoil = False, None
        if self.paths:
            self.driver.plug_in(self.paths)
        self.paths = []

    def close(self):
        self.driver.stop()


#: what a meter needs beside numpy
NEEDS = {"scpi": "pyvisa_py", "serial": "serial", "wattsup": "serial", "joulescope": "joulescope"}
RIGS = {
    rig.name: rig
    for rig in (
        ScpiRig,
        PtdaemonRig,
        ShellyRig,
        TasmotaRig,
        TcpRig,
        SerialRig,
        WattsUpRig,
        CsvRig,
        TegrastatsRig,
        JoulescopeRig,
    )
}

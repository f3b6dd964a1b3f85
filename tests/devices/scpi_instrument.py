"""Instruments that speak SCPI, for tests: their power is a stated function of time, and they fail when they are told to.

`Instrument` is what answers; `TcpInstrument` and `SerialInstrument` are the wire that real libraries connect to.
"""

from __future__ import annotations

import math
import os
import pty
import select
import time
import tty

from waves import Sine
from wire import TcpWire, Wire

VOLTS = 12.0
SINE = Sine()
PERIOD_S, power_w, energy_j = SINE.period_s, SINE.power_w, SINE.energy_j


def now_s():
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Instrument:
    """Answers messages; unknown ones are an error in its queue and no answer, as the standard says."""

    def __init__(self, idn, error_query, wave=SINE):
        self.idn, self.error_query, self.wave = idn, error_query, wave
        self.heard, self.errors = [], []
        #: what goes wrong: "half line", "cut off", "nan", "overflow", "unit", "deaf", "stalls", "hang up", "wrong words"; and
        #: for how long it thinks once (s)
        self.fault, self.stall_s = None, 0.0

    def handle(self, message):
        """The answer to a message, None where there is none; units are separated by semicolons."""
        self.heard.append(message)
        answers = [self.unit(unit.strip()) for unit in message.split(";")]
        answers = [answer for answer in answers if answer is not None]
        return ";".join(answers) if answers else None

    def unit(self, text):
        header, _, value = text.partition(" ")
        if header == "*IDN?":
            return self.idn
        if header == "*CLS":
            self.errors.clear()
            return None
        if header == self.error_query:
            return self.errors.pop(0) if self.errors else '0,"No error"'
        answer = self.measure(header) if header.endswith("?") else self.obey(header, value)
        if answer is NotImplemented:
            self.errors.append(f'-113,"Undefined header {header}"')
            return None
        return answer

    def measure(self, header):
        return NotImplemented

    def obey(self, header, value):
        return NotImplemented

    def spoil(self, text, unit):
        return {"nan": "9.91E+37", "overflow": "9.9E+37", "unit": f"{text} {unit}"}.get(self.fault, text)


class Supply(Instrument):
    """A bench supply. Without `has_power` it only knows its voltage and its current."""

    def __init__(self, has_power=True, idn="Keysight Technologies,N6705C,MY0001,E.02", wave=SINE):
        super().__init__(idn, "SYST:ERR?", wave)
        self.has_power = has_power

    def measure(self, header):
        if header == "MEAS:POW?" and self.has_power:
            return self.spoil(f"{self.wave.power_w(now_s()):.6E}", "V")
        if header == "MEAS:VOLT?":
            return self.spoil(f"{VOLTS:.6E}", "A")
        if header == "MEAS:CURR?":
            return self.spoil(f"{self.wave.power_w(now_s()) / VOLTS:.6E}", "V")
        return NotImplemented


class PowerMeter(Instrument):
    """A WT310E: registers that are means over the last whole update, an integrator, ranges that hold while it integrates."""

    CHOICES = {"RANGE V": (15.0, 30.0, 60.0, 150.0, 300.0, 600.0), "RANGE A": (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)}

    def __init__(self, model="WT310E", update_s=0.1, wave=SINE):
        super().__init__(f"YOKOGAWA,{model},C2RH13047V,F1.03", ":STATus:ERRor?", wave)
        self.settings = {
            ":INPut:VOLTage:RANGe": 600.0,
            ":INPut:CURRent:RANGe": 20.0,
            ":INPut:VOLTage:AUTO": 1,
            ":INPut:CURRent:AUTO": 1,
            ":INPut:SCALing:STATe": 0,
            ":HOLD": 0,
            ":MEASure:MHOLd": 1,
            ":MEASure:AVERaging:STATe": 0,
            ":RATE": update_s,
            ":INTEGrate:MODE": "CONTINUOUS",
            ":INTEGrate:TIMer": "1,0,0",
        }
        self.state, self.started_s, self.over = "RESET", 0.0, 0
        self.items = {}

    def updated_s(self):
        period_s = self.settings[":RATE"]
        return math.floor(now_s() / period_s) * period_s

    def measure(self, header):
        if header == ":INTEGrate:STATe?":
            return self.state
        if header == ":INPut:CRANge?":
            return str(self.over)
        if header == ":NUMeric:NORMal:VALue?":
            return ",".join(self.value(self.items[at]) for at in range(1, self.items["count"] + 1))
        if header[:-1] not in self.settings:
            return NotImplemented
        value = self.settings[header[:-1]]
        return f"{value:.3E}" if isinstance(value, float) else str(value)

    def value(self, item):
        if self.fault in ("nan", "overflow"):
            return {"nan": "NAN", "overflow": "INF"}[self.fault]
        end_s, period_s = self.updated_s(), self.settings[":RATE"]
        mean_w = self.wave.energy_j(end_s - period_s, end_s) / period_s
        function, element = item.split(",")
        assert element == "1"
        if function == "WH":
            until_s = max(end_s, self.started_s)
            integrated_j = 0.0 if self.state == "RESET" else self.wave.energy_j(self.started_s, until_s)
            return f"{integrated_j / 3600:.6E}"
        text = f"{ {'P': mean_w, 'U': VOLTS, 'I': mean_w / VOLTS}[function]:.5E}"
        return f"{text} kWh" if self.fault == "unit" else text

    def obey(self, header, value):
        if header.startswith(":COMMunicate:") or header == ":NUMeric:FORMat":
            return None
        if header == ":NUMeric:NORMal:NUMber":
            self.items["count"] = int(value)
        elif header.startswith(":NUMeric:NORMal:ITEM"):
            self.items[int(header[20:])] = value
        elif header in (":INTEGrate:STARt", ":INTEGrate:STOP", ":INTEGrate:RESet"):
            self.integrate(header[11:].upper())
        elif header in self.settings:
            self.change(header, value)
        else:
            return NotImplemented
        return None

    def integrate(self, what):
        if what == "RESET" and self.state == "START":
            self.errors.append('813,"Cannot be set during integration"')
            return
        if what == "START" and self.state == "RESET":
            self.started_s = now_s()
        self.state = what

    def change(self, header, value):
        if self.state == "START":
            self.errors.append('813,"Cannot be set during integration"')
            return
        known = self.CHOICES.get(f"RANGE {header[7]}".replace("C", "A"), ()) if header.endswith("RANGe") else ()
        if known and float(value) not in known:
            self.errors.append('222,"Data out of range"')
        elif header == ":RATE":
            self.settings[header] = float(value[:-2]) / 1000
        elif header.startswith(":INTEGrate"):
            self.settings[header] = value.upper()
        else:
            self.settings[header] = float(value) if known else {"OFF": 0, "ON": 1}[value]


class TcpInstrument(TcpWire):
    """An instrument at a port of 127.0.0.1."""

    def __init__(self, instrument, port=0):
        super().__init__(instrument, port)
        self.resource = f"TCPIP::127.0.0.1::{self.port}::SOCKET"


class SerialInstrument(Wire):
    """An instrument at the other end of a pseudo terminal."""

    def __init__(self, instrument):
        super().__init__(instrument)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.resource = f"ASRL{os.ttyname(self.slave)}::INSTR"

    def serve(self):
        self.talk(
            lambda: os.read(self.master, 4096) if select.select([self.master], [], [], 0.01)[0] else None,
            lambda data: os.write(self.master, data),
        )
        os.close(self.master)
        os.close(self.slave)

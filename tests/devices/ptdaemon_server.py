"""A PTDaemon for tests, on 127.0.0.1: it answers as the public client and checker of MLPerf Power expect, on a clock of its own.

It samples means of its `wave` over its interval. Its clock is `ahead_s` before ours and runs `rate` times as fast.
"""

from __future__ import annotations

import time

from scpi_instrument import SINE, VOLTS, now_s
from wire import TcpWire

HELLO = "Hello, PTDaemon here!"


class PtdaemonServer(TcpWire):
    """Use it as a context; `port` of an earlier one is the same daemon started again."""

    END = b"\r\n"

    def __init__(self, port=0, kind="RL", ahead_s=1.6e9, rate=1.0, wave=SINE):
        super().__init__(self, port)
        self.kind, self.ahead_s, self.rate = kind, ahead_s, rate
        self.wave, self.heard = wave, []
        self.ranges = {"V": "Auto", "A": "0.5"}
        self.interval_s = self.started_s = None
        self.given = 0
        #: what goes wrong: "half line", "cut off", "unit", "over range", "overflow", "nan", "hang up", "silent", "stalls",
        #: "refuses", "not ptdaemon"
        self.fault, self.stall_s = None, 0.0
        self.left_over = []

    def handle(self, command):
        self.heard.append(command)
        return "\r\n".join(self.lines_for(command))

    def lines_for(self, command):
        name, _, rest = command.partition(",")
        if name == "Hello":
            return ["220 mail.example ESMTP" if self.fault == "not ptdaemon" else HELLO]
        if name == "Identify":
            return ["YokogawaWT310E,0,version=1.11.1-1e3a4c0b-20240910,YOKOGAWA,WT310E,C2RH13047V,F1.03"]
        if name == "RR":
            flags = {
                letter: "1,-1.0" if value == "Auto" else f"0,{float(value)}" for letter, value in self.ranges.items()
            }
            return [f"Ranges,{flags['A']},{flags['V']}"]
        if name == "SR":
            letter, value = rest.split(",")
            if self.fault == "refuses":
                return [f"Error: range {value} is not supported"]
            self.ranges[letter] = value
            return [f"Range {letter} changed"]
        if name == "Go":
            self.interval_s, self.started_s, self.given = int(rest.split(",")[0]) / 1000, now_s(), 0
            ms = rest.split(",")[0]
            return [f"Starting untimed measurement, maximum 500000 samples at {ms}ms with 0 rampup samples"]
        if name == "Stop":
            running, self.interval_s = self.interval_s is not None, None
            return ["Stopping untimed measurement" if running else "Error: no measurement to stop"]
        if name == "Uncertainty":
            return ["Uncertainty,0.004400,0.004400,0.004500,1,0,1,0"]
        if name == self.kind:
            lines = [*self.left_over, *self.new_samples()]
            self.left_over = []
            return [f"Last {len(lines)} samples", *lines]
        return [f"Error: Unknown command {name}"]

    def new_samples(self):
        if self.interval_s is None or self.fault == "silent":
            return []
        ready = int((now_s() - self.started_s) / self.interval_s)
        lines = [self.sample(self.started_s + k * self.interval_s) for k in range(self.given + 1, ready + 1)]
        self.given = ready
        return lines

    def sample(self, end_s):
        watts = self.wave.energy_j(end_s - self.interval_s, end_s) / self.interval_s
        stamp_s = self.ahead_s + end_s * self.rate
        stamp = time.strftime("%m-%d-%Y %H:%M:%S", time.gmtime(stamp_s)) + f".{int(stamp_s * 1000) % 1000:03d}"
        if self.fault == "over range":
            watts = -1.0
        text = {"nan": "nan", "overflow": "9.9E+37"}.get(self.fault, f"{watts:.6f}")
        name = "mWatts" if self.fault == "unit" else "Watts"
        return f"Time,{stamp},{name},{text},Volts,{VOLTS:.6f},Amps,{watts / VOLTS:.6f},PF,1.000000"

"""Tiny meters for the tests of the sampler; they are opened in its process, where this folder is on the module path."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.errors import MeterError
from ebbench.protocols import AVERAGE, Block, Column, MeterInfo, NumberFile, Rail

COLUMNS = (Column("VDD_IN_w", 1e-3, raw=True), Column("GPU_w"))


def info(columns=COLUMNS, rate_hz=100.0, **fields):
    rails = (Rail("VDD_IN", "module"), Rail("GPU", "gpu", inside_of="VDD_IN"))
    return MeterInfo("fake", "module", True, rails, tuple(columns), ("VDD_IN",), rate_hz, **fields)


class Constant:
    """Ten watts, always; options: rate_hz."""

    def __init__(self, request):
        self.options = request.options

    def open(self):
        return info(rate_hz=float(self.options.get("rate_hz", 100)))

    def read(self):
        return (10_000, None)

    def close(self):
        pass


class Stumbles(Constant):
    """Fails once: in its sixth reading, the first after those that tell how long one takes."""

    def __init__(self, request):
        super().__init__(request)
        self.readings = 0

    def read(self):
        self.readings += 1
        if self.readings == 6:
            raise MeterError("not yet")
        return super().read()


class Filed(Constant):
    """Ten watts from a file that compiled code may read too; option: file, in the place of one of its own."""

    def open(self):
        if "file" in self.options:
            self.fd = os.open(self.options["file"], os.O_RDONLY)
        else:
            self.fd = os.memfd_create("power")
            os.write(self.fd, b"10000\n")
        return info()

    def read(self):
        return (int(os.pread(self.fd, 32, 0)), None)

    def files(self):
        return [NumberFile(self.fd)]

    def take(self, numbers, offsets_ns):
        return np.column_stack([numbers, np.full(len(numbers), np.nan)]), np.repeat(offsets_ns, 2, axis=1)

    def close(self):
        os.close(self.fd)


class Late(Constant):
    """Shows the mean of the last so many seconds, as the option says."""

    def open(self):
        rail = Rail("VDD_IN", "module", kind=AVERAGE, averaging_s=float(self.options["averaging_s"]))
        return MeterInfo("late", "module", True, (rail,), (Column("VDD_IN_w"),), ("VDD_IN",), 100.0)

    def read(self):
        return (10.0,)


class LateRail(Constant):
    """Shows its total at once, and that of a rail as the mean of the last so many seconds, as the option says."""

    def open(self):
        slow = Rail("GPU", "gpu", "VDD_IN", kind=AVERAGE, averaging_s=float(self.options["averaging_s"]))
        columns = (Column("VDD_IN_w"), Column("GPU_w"))
        return MeterInfo("late", "module", True, (Rail("VDD_IN", "module"), slow), columns, ("VDD_IN",), 100.0)

    def read(self):
        return (10.0, 4.0)


class Unplugged(Constant):
    """Cannot be opened."""

    def open(self):
        raise MeterError("no sensor at /sys/bus/i2c; plug it in")


class Broken(Constant):
    """Its library raises what it likes."""

    def open(self):
        raise ZeroDivisionError("two\nlines")


class Mute(Constant):
    """Opens, and cannot be read."""

    def read(self):
        raise OSError(5, "Input/output error")


class Hanging(Constant):
    """Hangs once the file that the option names exists."""

    def read(self):
        while os.path.exists(self.options["hang"]):
            time.sleep(0.01)
        return (10_000, None)


class Flaky(Constant):
    """Fails for as long as the file that the option names exists, and then only works again after being opened."""

    def __init__(self, request):
        super().__init__(request)
        self.broken = False

    def open(self):
        if os.path.exists(self.options["broken"]):
            raise MeterError("the plug is out")
        return info()

    def read(self):
        if os.path.exists(self.options["broken"]):
            self.broken = True
        if self.broken:
            raise OSError(19, "No such device")
        return (10_000, 1.0)


class Odd(Constant):
    """Gives too few values, words, and infinity in turn."""

    def __init__(self, request):
        super().__init__(request)
        self.turns = itertools.chain([(1, 1.0)] * 6, itertools.cycle([(1,), ("high", 1.0), (2, float("inf"))]))

    def read(self):
        return next(self.turns)


class Slow(Constant):
    """A sweep takes 20 ms, the second column comes after 10."""

    offsets_ns = (0, 10_000_000)

    def read(self):
        time.sleep(0.02)
        return (10_000, 1.0)


class Chatty(Constant):
    """Prints to stdout, as a vendor's library may."""

    def read(self):
        print("hello", flush=True)
        os.write(1, b'{"live": "nonsense"}\n')
        return (10_000, None)


class Stopper(Constant):
    """Kills its own process when asked to."""

    def read(self):
        if os.path.exists(self.options["die"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return (10_000, None)


class Echo(Constant):
    """Shows its options in its identity."""

    def open(self):
        return info(identity=dict(self.options))


class Changing(Constant):
    """Has another rail once the file that the option names exists."""

    def open(self):
        return info((Column("VDD_IN_w"),) if os.path.exists(self.options["other"]) else COLUMNS)

    def read(self):
        return (10.0,) if os.path.exists(self.options["other"]) else (10_000, None)


class HalfBlind(Constant):
    """Reads a part, but not what counts."""

    def read(self):
        return (None, 5_000)


class Ramp:
    """A streamed meter: a reading every 1/rate_hz on a grid of its own, power = seconds since it was opened."""

    def __init__(self, request):
        self.broken = request.options.get("broken")

    def open(self):
        self.start_ns = monotonic_ns()
        self.next = 0
        return info((Column("VDD_IN_w"),), 50.0)

    def drain(self, rate_hz):
        if self.broken and os.path.exists(self.broken):
            raise OSError(19, "No such device")
        count = int((monotonic_ns() - self.start_ns) * rate_hz / 1e9) + 1
        index = np.arange(self.next, count)
        self.next = count
        return Block(self.start_ns + np.round(index * 1e9 / rate_hz).astype(np.int64), index[:, None] / rate_hz)

    def close(self):
        pass


class Silent(Ramp):
    """Says once that it was lost, and gives nothing for as long as the file that the option names exists."""

    is_lost = False

    def drain(self, rate_hz):
        was_lost, self.is_lost = self.is_lost, os.path.exists(self.broken)
        if self.is_lost and not was_lost:
            raise MeterError("the line is silent")
        block = super().drain(rate_hz) if not self.is_lost else None
        return block or Block(np.empty(0, np.int64), np.empty((0, 1)))


class Partial(Ramp):
    """Lacks every reading, says so, and shows the rate that it was asked for in its identity."""

    def __init__(self, request):
        super().__init__(request)
        self.request = request

    def open(self):
        return dataclasses.replace(super().open(), identity={"asked": self.request.rate_hz})

    def drain(self, rate_hz):
        block = super().drain(rate_hz)
        notes = tuple((int(t), "the rail did not answer") for t in block.time_ns)
        return Block(block.time_ns, block.values * np.nan, notes)


class Files:
    """Twelve rails from files, each opened once and read anew, as sysfs is; option: folder."""

    def __init__(self, request):
        self.folder = Path(request.options["folder"])

    def open(self):
        self.fds = [os.open(self.folder / f"power{i}", os.O_RDONLY) for i in range(12)]
        rails = tuple(Rail(f"R{i}", "rail") for i in range(12))
        columns = tuple(Column(f"R{i}_w", 1e-3, raw=True) for i in range(12))
        return MeterInfo("files", "module", True, rails, columns, ("R0",), 100.0)

    def read(self):
        return [int(os.pread(fd, 32, 0)) for fd in self.fds]

    def files(self):
        return [NumberFile(fd) for fd in self.fds]

    def take(self, numbers, offsets_ns):
        return numbers, offsets_ns

    def close(self):
        for fd in self.fds:
            os.close(fd)

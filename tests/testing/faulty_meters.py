"""A meter that does all it must, and others that each break one rule."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.errors import ConfigError, MeterError, nearest
from ebbench.protocols import REMOTE, Availability, Block, Column, MeterInfo, NumberFile, Rail

RAILS = (Rail("VIN", "wall", gain_ratio=0.01), Rail("GPU", "gpu", inside_of="VIN"))
COLUMNS = (Column("VIN_w", 1e-3, raw=True), Column("GPU_w"))
INFO = MeterInfo("good", "wall", True, RAILS, COLUMNS, ("VIN",), 100.0)


class Good:
    """Reads milliwatts from the file that is its address."""

    info = INFO

    def __init__(self, request):
        self.path, self.file = request.address, None
        for key in request.options:
            if key != "scope":
                raise ConfigError(f"good: unknown option {key!r}; {nearest(key, ['scope'])}")

    @classmethod
    def probe(cls, request):
        if request.address is None:
            return Availability(False, False, "name its file: good:FILE", "wall", True)
        return Availability(True, True, "reads a file", "wall", True)

    def open(self):
        try:
            self.file = open(self.path)  # noqa: SIM115 - close closes it
        except OSError as error:
            raise MeterError(f"cannot open {self.path}: {error.strerror}; name another file") from error
        return self.info

    def read(self):
        self.file.seek(0)
        text = self.file.read()
        if not text.strip():
            raise MeterError(f"{self.path} is empty; is the meter on?")
        return (int(text), None)

    def close(self):
        if self.file is not None:
            self.file.close()


class ProbeRaises(Good):
    @classmethod
    def probe(cls, request):
        raise MeterError("two\nlines")


class ProbeIsSlow(Good):
    @classmethod
    def probe(cls, request):
        time.sleep(0.3)
        return super().probe(request)


class ProbeAsksAround(Good):
    @classmethod
    def probe(cls, request):
        with socket.socket() as here:
            here.settimeout(0.01)
            here.connect_ex(("127.0.0.1", 9))
        return super().probe(request)


class ProbeWrites(Good):
    @classmethod
    def probe(cls, request):
        with open(os.environ["FAULTY_FOLDER"] + "/probed", "w"):
            return super().probe(request)


class ProbeLeaks(Good):
    kept = []

    @classmethod
    def probe(cls, request):
        cls.kept.append(open(os.devnull))  # noqa: SIM115 - the fault
        return super().probe(request)


class TakesAnyOption(Good):
    def __init__(self, request):
        super().__init__(dataclasses.replace(request, options={}))


class NamesNoNearest(Good):
    def __init__(self, request):
        try:
            super().__init__(request)
        except ConfigError:
            raise ConfigError("good: some option is wrong") from None


class Traceback(Good):
    def open(self):
        try:
            return super().open()
        except MeterError as error:
            raise MeterError(f"Traceback (most recent call last):\n{error}") from error


class OpensNothing(Good):
    def open(self):
        self.path = os.environ["FAULTY_FOLDER"] + "/power"
        return super().open()


class Leaks(Good):
    kept = []

    def close(self):
        self.kept.append(self.file)


class ClosesOnce(Good):
    def close(self):
        self.file.close()
        self.file = None


class Shrinks(Good):
    opened = 0

    def open(self):
        Shrinks.opened += 1
        super().open()
        return dataclasses.replace(INFO, columns=COLUMNS[: 1 + Shrinks.opened % 2])

    def read(self):
        return super().read()[: 1 + Shrinks.opened % 2]


class ReadsTooFew(Good):
    def read(self):
        return super().read()[:1]


class Filed(Good):
    """Good too, and compiled code may read it."""

    def files(self):
        return [NumberFile(self.file.fileno())]

    def take(self, numbers, offsets_ns):
        return np.column_stack([numbers, np.full(len(numbers), np.nan)]), np.repeat(offsets_ns, 2, axis=1)


class TakesTooFew(Filed):
    def take(self, numbers, offsets_ns):
        return numbers, offsets_ns


class TakesFractions(Filed):
    def take(self, numbers, offsets_ns):
        values, times_ns = super().take(numbers, offsets_ns)
        return values / 2, times_ns


class ReadsWords(Good):
    def read(self):
        return (super().read()[0], "12 W")


class ReadsFractions(Good):
    def read(self):
        return (0.5, None)


class ReadsInfinity(Good):
    def read(self):
        return (1, float("inf"))


class ZeroForUnread(Good):
    def read(self):
        try:
            return super().read()
        except MeterError:
            return (0, None)


class FailsElsewhere(Good):
    """Works where it is tested, and not in the sampler's process."""

    def read(self):
        if "pytest" not in sys.modules:
            raise MeterError("works on my machine")
        return super().read()


class ClosesSlowly(Good):
    def close(self):
        if "pytest" not in sys.modules:
            time.sleep(3)
        super().close()


class LoadsPandas(Good):
    def open(self):
        if "pytest" not in sys.modules:
            sys.modules["pandas"] = sys.modules[__name__]
        return super().open()


class Streamed(Good):
    """Hands over a block of readings, on a grid of its own."""

    info = dataclasses.replace(INFO, columns=(Column("VIN_w"),))

    def open(self):
        self.last_ns = monotonic_ns()
        return super().open()

    def drain(self, rate_hz):
        step_ns = int(1e9 / rate_hz)
        times_ns = np.arange(self.last_ns + step_ns, monotonic_ns(), step_ns)
        self.last_ns = int(times_ns[-1]) if len(times_ns) else self.last_ns
        return self.block(times_ns)

    def block(self, times_ns):
        return Block(times_ns, np.full((len(times_ns), 1), float(super().read()[0])))


class StreamsTheFuture(Streamed):
    def block(self, times_ns):
        return super().block(times_ns + 10**11)


class StreamsBackwards(Streamed):
    def open(self):
        self.begun_ns = monotonic_ns()
        return super().open()

    def block(self, times_ns):
        return Block(2 * self.begun_ns - times_ns, np.ones((len(times_ns), 1)))


class StreamsFlat(Streamed):
    def block(self, times_ns):
        return Block(times_ns, np.ones(len(times_ns)))


class StreamsFloatTimes(Streamed):
    def block(self, times_ns):
        return Block(times_ns.astype(float), np.ones((len(times_ns), 1)))


class StreamsNothing(Streamed):
    def block(self, times_ns):
        return super().block(times_ns[:0])


class StreamsZero(Streamed):
    """Shows 0 some time after its other end has failed, as one does that gathers in a thread."""

    def open(self):
        self.failing = 0
        return super().open()

    def block(self, times_ns):
        try:
            return super().block(times_ns)
        except MeterError:
            self.failing += 1
            return Block(times_ns, np.full((len(times_ns), 1), 0.0 if self.failing > 10 else np.nan))


class StreamsOverflow(Streamed):
    def block(self, times_ns):
        return Block(times_ns, np.full((len(times_ns), 1), 9.9e37))


class StreamsAhead(StreamsTheFuture):
    """Its stamps are by a clock of its own, which is 100 s ahead, and it says so."""

    info = dataclasses.replace(Streamed.info, clock=REMOTE, time_bound_s=200.0)

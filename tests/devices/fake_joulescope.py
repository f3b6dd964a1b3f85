"""What stands behind the maker's own device classes in tests: the driver, with instruments that send blocks of statistics.

``pyjoulescope_driver.Driver`` is the seam: all above it (``joulescope.scan``, the classes of JS110 and JS220, their parameters)
is the maker's. The dictionary of a block has the keys and units that the driver's binding gives it.
"""

from __future__ import annotations

import atexit
import threading
import time

from waves import Square

from ebbench_devices.joulescope import JoulescopeMeter

SAMPLE_HZ = 2_000_000


def block_of(first, last, power_w, energy_j, volts=12.0, units="W"):
    """One block of statistics, as the binding of pyjoulescope_driver makes it."""

    def signal(mean, unit, integral):
        found = {
            k: {"value": v, "units": unit}
            for k, v in {"avg": mean, "std": 0.0, "min": mean, "max": mean, "p2p": 0.0}.items()
        }
        return (
            {**found, "integral": {"value": mean * (last - first) / SAMPLE_HZ, "units": integral}}
            if integral
            else found
        )

    return {
        "time": {
            "samples": {"value": [first, last], "units": "samples"},
            "sample_freq": {"value": SAMPLE_HZ, "units": "Hz"},
        },
        "signals": {
            "current": signal(power_w / volts, "A", "C"), "voltage": signal(volts, "V", None), "power": signal(power_w, units, "J"),
        },
        "accumulators": {
            "charge": {"value": energy_j / volts, "units": "C"}, "energy": {"value": energy_j, "units": "J"},
        },
    }  # fmt: skip


class FakeDriver:
    """The part of ``pyjoulescope_driver.Driver`` that the device classes use. It refuses what the real one refuses."""

    def __init__(self, paths=("u/js220/000123",)):
        self.log_level, self.paths = "INFO", list(paths)
        self.subscribed, self.published, self.opened, self.busy = {}, [], set(), False
        self.energy_j, self.sample = 40.0, 1_000_000

    def device_paths(self):
        return list(self.paths)

    def open(self, path, mode=None, timeout=None):
        if self.busy or path not in self.paths:
            raise RuntimeError(f"jsdrv_open failed for {path}: busy")
        self.opened.add(path)
        return 0

    def close(self, path, timeout=None):
        self.opened.discard(path)  # the package closes all of them at its end, opened or not
        return 0

    def publish(self, topic, value, timeout=None):
        path = "/".join(topic.split("/")[:3])
        if path not in self.opened:
            raise RuntimeError(f"jsdrv_publish({topic}): not found")
        self.published.append((topic[len(path) + 1 :], value))

    def subscribe(self, topic, flags, fn, timeout=None):
        self.subscribed.setdefault(topic, []).append(fn)

    def unsubscribe(self, topic, fn, timeout=None):
        self.subscribed[topic].remove(fn)

    def finalize(self):
        self.subscribed.clear()

    def last_published(self, topic):
        return next((value for name, value in reversed(self.published) if name == topic), None)

    def tell(self, topic, value):
        for fn in list(self.subscribed.get(topic, [])):
            fn(topic, value)

    def send(self, power_w=6.0, seconds=0.05, volts=12.0, lose=False, spoil=None):
        """One block of every open instrument; with `lose` it is counted and never arrives. `spoil` changes its dictionary."""
        first, self.sample = self.sample, self.sample + round(seconds * SAMPLE_HZ)
        self.energy_j += power_w * seconds
        if not lose:
            for path in self.opened:
                topic = "s/sstats/value" if "js110" in path else "s/stats/value"
                block = block_of(first, self.sample, power_w, self.energy_j, volts)
                self.tell(f"{path}/{topic}", block if spoil is None else spoil(block))

    def unplug(self):
        gone, self.paths = self.paths, []
        for path in gone:
            self.tell("@/!remove", path)
        return gone

    def plug_in(self, paths):
        self.paths = list(paths)
        for path in paths:
            self.tell("@/!add", path)


def install(driver):
    """Make the package use `driver` and forget any other; returns what undoes it."""
    from joulescope.v1 import driver as module

    old = module.Driver, module.DriverWrapper.__dict__.get("__singleton__")
    module.Driver, module.DriverWrapper.__singleton__ = (lambda: driver), None

    def undo():
        wrapper = module.DriverWrapper.__dict__.get("__singleton__")
        if wrapper is not None:
            atexit.unregister(wrapper._finalize)
        module.Driver, module.DriverWrapper.__singleton__ = old

    return undo


class SendingDriver(FakeDriver):
    """Its instrument sends what `wave` uses, a block every 20 ms; `spoil` is what is wrong with the blocks, `silent` sends none."""

    #: the one of this process
    here = None

    def __init__(self, wave):
        super().__init__()
        self.wave, self.spoil, self.silent = wave, None, False
        self._closing = threading.Event()
        self._undo = install(self)
        SendingDriver.here = self
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        last_s = due_s = time.monotonic()
        while not self._closing.wait((due_s := due_s + 0.02) - time.monotonic()):
            now_s = time.monotonic()
            if self.opened and not self.silent:
                mean_w = self.wave.energy_j(last_s, now_s) / (now_s - last_s)
                self.send(mean_w, now_s - last_s, spoil=self.spoil)
            last_s = now_s

    def stop(self):
        self._closing.set()
        self._thread.join()
        self._undo()
        SendingDriver.here = None


class SendingMeter(JoulescopeMeter):
    """The meter with an instrument that sends; a sampler's process has none and gets one of its own."""

    WAVE = Square(start_s=0.0)

    def open(self):
        if SendingDriver.here is None:
            SendingDriver(self.WAVE)
        return super().open()

"""A meter that is a small device with an HTTP server in it, asked again and again: what such meters have in common.

Which energy counts. These devices show a power that they renew about once a second, and count energy in steps: a Shelly of the
second generation in 0.001 Wh (3.6 J), one of the first in 1 W min (60 J) or 0.1 Wh (360 J), Tasmota in 0.001 kWh (3600 J) unless
``EnergyRes`` says more. How often the counters turn is not documented, and by the minute is as likely as by the second. A phase
of 10 s at 10 W is 100 J: the power errs by its step times a second at an edge, while a coarse or slow counter does not see the
phase at all. So the power is what is integrated, on every device alike, and the counter is a rail of its own beside it
(``INPUT_COUNTER``, inside of INPUT), a cross-check over long phases. Where a fine counter turns with every renewal it is the
better one, because it leaves out nothing between the renewals; whoever has seen that it does says ``energy=counter``: then it gives
the energy, and the power checks it. That is not found out at the start, so that two runs on one bench mean the same.

Time. A reading lies in the middle of its round trip. What a renewal shows was measured before it, over a time that the vendors do
not tell; it is taken for at most one renewal, and is in the meter's bound on time together with half the longest round trip.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.schedule import Schedule
from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import HOLD, Availability, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S
from ebbench_devices.meter.external import address_of, named, unnamed
from ebbench_devices.meter.gatherer import Gathered, Gatherer
from ebbench_devices.meter.options import DOUBTS, Options
from ebbench_devices.plugs.http_device import TIMEOUT_S, HttpDevice, parse_address
from ebbench_devices.plugs.http_login import Login, password_from

OPTIONS = ("scope", "user", "password_env", "timeout_s", "update_s", "energy", *DOUBTS)
RAIL, COUNTER = "INPUT", "INPUT_COUNTER"
#: twice as often as the devices renew what they show
DEFAULT_RATE_HZ, MAX_RATE_HZ = 2.0, 10.0
#: round trips that are timed when it opens
TRIPS = 3

Document = Mapping[str, Any]
#: power (W), volts, amperes, and the counter in steps
Values = Tuple[Optional[float], Optional[float], Optional[float], Optional[float]]


@dataclass(frozen=True)
class Source:
    """Where a device shows its power: the path to ask for, and how its answer is read.

    `values` raises MeterError where there is no power in an answer. `public` stands for the path in messages, where it holds a
    password. `counter_step_j`: one step of the counter, None without one.
    """

    path: str
    values: Callable[[Document], Values]
    counter_step_j: Optional[float]
    power_step_w: Optional[float]
    identity: Mapping[str, Any]
    public: Optional[str] = None


class PolledMeter(Gathered):
    """One rail ``INPUT`` (W, V, A) and its counter; a subclass says of a device of its kind what to ask it for."""

    NAME = ""
    #: options beside those that all of them have
    MORE: Tuple[str, ...] = ()

    def __init__(self, request: MeterRequest) -> None:
        self._options = options = Options(self.NAME, request, (*OPTIONS, *self.MORE))
        self._address = address_of(self.NAME, request, self._example())
        parse_address(self.NAME, self._address)
        self._scope = options.stated_scope()
        self._user = options.text("user", "admin") or ""
        self._password_env = options.text("password_env")
        self._timeout_s = options.number("timeout_s", TIMEOUT_S, above=0.0) or TIMEOUT_S
        self._update_s = options.number("update_s", 1.0, above=0.0)
        self._by_counter = options.choice("energy", ("power", "counter"), "power") == "counter"
        self._rate_hz = DEFAULT_RATE_HZ if request.rate_hz is None else request.rate_hz
        if not 0 < self._rate_hz <= MAX_RATE_HZ:
            raise ConfigError(
                f"{self.NAME}: {self._rate_hz:g} readings/s; it renews its power about once a second, at most "
                f"{MAX_RATE_HZ:g} are asked for, {DEFAULT_RATE_HZ:g} advised: a lower --rate"
            )
        options.doubts()  # what the user states is checked before anybody is asked
        self._device: Optional[HttpDevice] = None

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Contacts nothing."""
        if request.address is None:
            return unnamed(cls._example())
        cls(request)
        return named(request)

    @classmethod
    def _example(cls) -> str:
        return f"{cls.NAME}:http://10.0.0.7?scope=wall"

    def find(self, device: HttpDevice, options: Options) -> Source:
        """Ask the device what it is. Raises MeterError where it shows no power."""
        raise NotImplementedError

    def open(self) -> MeterInfo:
        """Ask the device what it is, time a few round trips, and begin to poll."""
        password = password_from(self.NAME, self._password_env)
        login = Login(self._user, password) if password is not None else None
        self._device = device = HttpDevice(self.NAME, self._address, login, self._timeout_s)
        try:
            source = self.find(device, self._options)
            trip_s = max(device.get(source.path, source.public).trip_s for _ in range(TRIPS))
            info = self._info(source, device, trip_s)
            self.gather(
                self.NAME,
                lambda: Poll(device, self._rate_hz, source, info.time_bound_s),
                len(info.columns),
                patience_s=self._timeout_s + 2 / self._rate_hz,
            )
        except MeterError:
            self.close()
            raise
        return info

    def _info(self, source: Source, device: HttpDevice, trip_s: float) -> MeterInfo:
        doubts = self._options.doubts(resolution_w=source.power_step_w)
        rail = Rail(RAIL, self._scope, kind=HOLD, update_period_s=self._update_s, **doubts)
        rails, columns = [rail], [Column(f"{RAIL}_{unit}") for unit in "wva"]
        name = RAIL if self._by_counter else COUNTER
        if source.counter_step_j is not None:
            columns.append(Column(f"{name}_j", source.counter_step_j, raw=True))
            if not self._by_counter:
                rails.append(dataclasses.replace(rail, name=COUNTER, inside_of=RAIL, offset_w=None, resolution_w=None))
        elif self._by_counter:
            raise MeterError(f"{self.NAME}: {device.address} has no energy counter; leave out energy=counter")
        identity = {
            **source.identity,
            "energy_from": "counter" if self._by_counter else "power",
            "update_s": self._update_s,
            "update_from": "stated" if self._options.text("update_s") is not None else "assumed",
            "longest_trip_s": trip_s,
            "time": "middle of the round trip",
        }
        bound_s = trip_s / 2 + (self._update_s or 0.0)
        return MeterInfo(
            self.NAME,
            self._scope,
            is_simulated_root(),
            tuple(rails),
            tuple(columns),
            (RAIL,),
            DEFAULT_RATE_HZ,
            MAX_RATE_HZ,
            identity,
            bound_s,
        )

    def close(self) -> None:
        """Stop asking and hang up."""
        super().close()
        if self._device is not None:
            self._device.close()
        self._device = None


class Poll:
    """A link that asks at a random instant of every slot: a grid would alias with the device's own renewals.

    A reading's time is known to half its round trip; where that is more than `bound_s`, it is no reading.
    """

    def __init__(self, device: HttpDevice, rate_hz: float, source: Source, bound_s: float) -> None:
        self._device, self._source, self._bound_s = device, source, bound_s
        self._schedule = Schedule(monotonic_ns(), rate_hz, jitter=True, seed=0)
        self._next_ns = monotonic_ns()

    def take(self, into: Gatherer) -> None:
        """Ask once, when it is time. An answer that fails is a note: the next question may be answered again."""
        wait_s = (self._next_ns - monotonic_ns()) / NS_PER_S
        if wait_s > 0 and into.closed.wait(wait_s):
            return
        start_ns = monotonic_ns()
        try:
            answer = self._device.get(self._source.path, self._source.public)
            values = self._columns(self._source.values(answer.document))
            if answer.trip_s / 2 > self._bound_s:
                into.note(
                    f"{self._device.address} took {answer.trip_s:.3g} s to answer: too late to be a reading", start_ns
                )
            else:
                into.reading(answer.time_ns, values)
        except MeterError as error:
            into.note(str(error), start_ns)
        self._next_ns = self._schedule.next(monotonic_ns())

    def _columns(self, values: Values) -> Sequence[Optional[float]]:
        return values if self._source.counter_step_j is not None else values[:3]

    def close(self) -> None:
        """Hang up."""
        self._device.close()

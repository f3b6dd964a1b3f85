"""One connection to ``jtop.service`` through jetson-stats: the only module that knows that package.

A connection lives in threads of its own, for three reasons: `start` of jetson-stats never returns while the service's worker hangs;
multiprocessing keeps one connection per thread and address, so that after a restart of the service the same thread only finds
the broken one; and a reading must not wait for the next. The package is imported there too: from 7.0 on it sets the start
method of multiprocessing for the whole process, which is why connections are made in the sampler's process alone.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Deque, Dict, List, Mapping, Optional

from ebbench.clock import monotonic_ns, read_clocks
from ebbench.energy.sampler_process.source import reason_of
from ebbench.environment import below_root, package_version
from ebbench.errors import MeterError
from ebbench.units import NS_PER_S
from ebbench_devices.meter.feed import patience_s

PACKAGE = "jetson-stats"
SOCKET = "/run/jtop.sock"
RESTART = "sudo systemctl restart jtop.service"
INSTALL = 'pip install "ebbench[jetson]" (the same major.minor as the service: `jtop --version`)'
#: connecting starts programs that look for libraries
CONNECT_S = 10.0
#: the service may be this far ahead of us (ns): its clock is ours, /proc/uptime
_AHEAD_NS = 100_000_000


@dataclass(frozen=True)
class Sample:
    """What the service read at `time_ns` (CLOCK_MONOTONIC): jetson-stats' dictionary ``power``."""

    time_ns: int
    power: Mapping[str, Any]


class JtopConnection:
    """Connects, and gathers samples until it breaks or is closed; never used again after that."""

    def __init__(self, interval_s: float) -> None:
        #: set whenever there is a sample or a failure
        self.news = threading.Event()
        #: the service's own interval (s): the first of its clients chose it. None until connected
        self.interval_s: Optional[float] = None
        self._asked_s = interval_s
        self._samples: Deque[Sample] = deque()
        self._uptime_ns = read_clocks().boottime_ns  # what the service kept from before is not a reading
        self._heard_ns = monotonic_ns()  # when there was something new
        self._client: Any = None
        self._failure: Optional[MeterError] = None
        self._closed = False
        threading.Thread(target=self._connect, name="jtop-connect", daemon=True).start()

    @property
    def is_pending(self) -> bool:
        """Whether it still tries to connect; a service that hangs keeps it so until it goes on or ends."""
        return self.interval_s is None and self._failure is None

    def take(self) -> List[Sample]:
        """The samples since the last call, oldest first.

        Raises MeterError where it broke, or gave nothing new for too long (once per such time).
        """
        self.news.clear()
        taken = [] if self.is_pending else [self._samples.popleft() for _ in range(len(self._samples))]
        if not taken:
            self._check()
        return taken

    def identity(self) -> Dict[str, Any]:
        """What the service says of the board, as far as it is nobody's secret (no serial number)."""
        hardware = self._client.board.get("hardware", {})
        return {key: hardware[key] for key in ("Model", "Module", "L4T", "Jetpack") if hardware.get(key)}

    def close(self) -> None:
        """Hang up, without waiting: jetson-stats waits for programs that it started."""
        self._closed = True
        if self.interval_s is not None:
            threading.Thread(target=self._client.close, name="jtop-close", daemon=True).start()

    def _connect(self) -> None:
        try:
            check_socket()
            client = self._client = _client(self._asked_s)
            client.attach(self._receive)
            client.start()
            self._heard_ns = monotonic_ns()
            self.interval_s = float(client.interval)
            self.news.set()  # the first sample comes before `start` returns
            if self._closed:
                client.close()
        except Exception as error:  # noqa: BLE001 - it raises many kinds; all of them are the meter's failure
            self._failure = _refusal(error)
            self.news.set()

    def _receive(self, client: Any) -> None:
        """Called by jetson-stats with every delivery; the same sample may come again and again."""
        clocks = read_clocks()
        uptime_ns = client.uptime // timedelta(microseconds=1) * 1000
        if uptime_ns > clocks.boottime_ns + _AHEAD_NS:
            ahead_s = (uptime_ns - clocks.boottime_ns) * 1e-9
            raise MeterError(
                f"jtop: the service's clock is {ahead_s:.1f} s ahead of ours; run ebbench in its time namespace"
            )
        if self._closed or uptime_ns <= self._uptime_ns:
            return
        self._uptime_ns, self._heard_ns = uptime_ns, clocks.monotonic_ns
        self._samples.append(Sample(uptime_ns - (clocks.boottime_ns - clocks.monotonic_ns), client.power))
        self.news.set()

    def _check(self) -> None:
        """Raise what broke this connection, or that it is silent."""
        if self._failure is not None:
            raise self._failure
        if self.interval_s is not None:
            try:
                self._client.ok(spin=True)  # raises what ended its thread
            except MeterError:
                raise
            except Exception as error:  # not only JtopException: ConnectionResetError, EOFError, BrokenPipeError
                raise MeterError(f"jtop.service is lost ({reason_of(error)}); is it running? {RESTART}") from error
        self._watch()

    def _watch(self) -> None:
        """Raise where there was nothing new for too long, and begin to wait anew."""
        now_ns, real_s = monotonic_ns(), self.interval_s
        if real_s is None:
            wait_s, what = CONNECT_S, "accepts connections but does not answer: its worker hangs"
        else:
            wait_s = patience_s(max(self._asked_s, real_s))
            what = "repeats one sample: its worker hangs, or its timer has died"
        if now_ns > self._heard_ns + wait_s * NS_PER_S:
            self._heard_ns = now_ns
            raise MeterError(f"jtop.service {what} (nothing new for {wait_s:g} s); {RESTART}")


def check_socket() -> None:
    """Raise MeterError, with what mends it, where nobody answers at the service's socket."""
    path = below_root(SOCKET)
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(0.2)
            probe.connect(str(path))
    except OSError as error:
        raise MeterError(_socket_fault(path, error)) from error


def _socket_fault(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return (
            f"jtop: {path} is not there, so jtop.service does not run; {RESTART} (never installed: sudo jtop "
            "--install-service; in a container: mount the socket)"
        )
    if error.errno == errno.ECONNREFUSED:
        return f"jtop: nobody listens at {path}, so jtop.service has died; {RESTART}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"jtop: no access to {path}; sudo usermod -aG jtop $USER, then log in again"
    return f"jtop: {path}: {error.strerror or error}; {RESTART}"


def _client(interval_s: float) -> Any:
    """An unconnected client of jetson-stats, for the socket below our root."""
    try:
        import jtop
        import jtop.service
    except ImportError as error:
        why = "is not installed" if package_version(PACKAGE) is None else "cannot be imported"
        raise MeterError(f"jtop: {PACKAGE} {why} here ({error}); {INSTALL}") from error
    jtop.service.JTOP_PIPE = str(below_root(SOCKET))
    return jtop.jtop(interval=interval_s)


def _refusal(error: Exception) -> MeterError:
    """Why a connection did not come about, in one line with what mends it."""
    if isinstance(error, MeterError):
        return error
    text = " ".join(str(error).split())
    versions = re.search(r"service: \[(\d+\.\d+)[^]]*\] and client: \[([^]]+)\]", text)
    if versions:
        return MeterError(
            f"jtop: the service is jetson-stats {versions.group(1)} and here is {versions.group(2)}; "
            f'pip install "jetson-stats=={versions.group(1)}.*"'
        )
    if "Error connection" in text:
        return MeterError(f"jtop: no sample within 3 intervals, the service is too slow; a lower --rate, or {RESTART}")
    if "Authentication" in text:
        return MeterError(f"jtop: the service refuses this {PACKAGE} ({text}); install its version: `jtop --version`")
    return MeterError(f"jtop: cannot connect ({reason_of(error)}); {RESTART}")

"""Meters that write lines: behind a pty, which is a serial port to pyserial, and behind a TCP server on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import tty


class SerialDevice:
    """The other end of a serial port. `plug_in` makes the port appear under `path`, `pull` makes it vanish."""

    def __init__(self, path):
        self.path = str(path)
        self.heard = b""
        self._master = None
        self._lock = threading.Lock()  # a number that was closed may be another file's already

    def plug_in(self):
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.symlink(os.ttyname(slave), self.path)
        os.close(slave)
        return self

    def pull(self):
        with self._lock:
            os.unlink(self.path)
            os.close(self._master)
            self._master = None

    def send(self, data):
        with self._lock:
            if self._master is not None:
                os.write(self._master, data)

    def hear(self, wanted, timeout_s=5.0):
        """What was sent to it, once `wanted` is in it."""
        deadline_s = time.monotonic() + timeout_s
        while wanted not in self.heard:
            assert time.monotonic() < deadline_s, f"heard {self.heard!r} only"
            if select.select([self._master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # nobody has the other end open just now
                    self.heard += os.read(self._master, 4096)
        return self.heard

    def close(self):
        if self._master is not None:
            self.pull()


class TcpDevice:
    """A server that one client after the other connects to; `on_connect(connection)` runs in a thread of its own."""

    def __init__(self, port=0):
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.connections = []
        self._connected = threading.Condition()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._connected:
                self.connections.append(connection)
                self._connected.notify_all()

    def wait_for(self, count, timeout_s=5.0):
        """Its newest connection, once there were `count`."""
        with self._connected:
            assert self._connected.wait_for(lambda: len(self.connections) >= count, timeout_s)
            return self.connections[-1]

    def send(self, data):
        """Send to all who are connected; who has hung up is let go."""
        with self._connected:
            for connection in [c for c in self.connections if c.fileno() >= 0]:
                try:
                    connection.sendall(data)
                except OSError:
                    connection.close()

    def stop(self):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        for connection in self.connections:
            connection.close()


class Feeder:
    """Sends `line_at(monotonic_s)` (None: nothing) in a thread, in every slot of `period_s`, until it is stopped."""

    def __init__(self, send, line_at, period_s):
        self._stop = threading.Event()
        self._send, self._line_at, self._period_s = send, line_at, period_s
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        due_s = time.monotonic()
        while not self._stop.wait(due_s - time.monotonic()):
            due_s = max(due_s + self._period_s, time.monotonic())
            line = self._line_at(time.monotonic())
            if line is not None:
                with contextlib.suppress(OSError, TypeError):  # it is pulled out just now
                    self._send(line)

    def stop(self):
        self._stop.set()
        self._thread.join()


#: records as printed by a meter that logs everything, and by one that leaves out what is not chosen
FULL = b"#d,-,18,125,1203,107,5,0,703,56,973,1280,435,120,1274,32,95,0,0,500,129;\r\n"
SPARSE = b"#d,-,18,125,1203,107,5,_,_,_,125,_,_,_,_,_,95,_,_,_,_;\r\n"


class WattsUp(SerialDevice):
    """Sends a `record` every `period_s` (the real one: 1 s) once it is told to; it may be a function of the time, or None."""

    def __init__(self, path, period_s=0.05):
        super().__init__(path)
        self.record = FULL
        self.running = threading.Event()
        self.plug_in()
        self._feeder = Feeder(self.send, self._line, period_s)

    def _line(self, at_s):
        with self._lock, contextlib.suppress(OSError, TypeError):  # nobody has the other end open just now
            if select.select([self._master], [], [], 0)[0]:
                self.heard += os.read(self._master, 4096)
        if self.heard.endswith(b"#L,W,3,E,,1;"):
            self.running.set()
        if self.heard.endswith(b"#L,R,0;"):
            self.running.clear()
        record = self.record(at_s) if callable(self.record) else self.record
        return record if self.running.is_set() else None

    def close(self):
        self._feeder.stop()
        super().close()

"""The wire to something that answers lines, in tests: a thread of its own, spoiled as the other end's `fault` says."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Wire:
    """Reads lines and sends what `other_end.handle(line)` answers (None: nothing); a subclass has the bytes.

    `other_end.fault`: "hang up", "stalls", "half line", "cut off", "deaf" and "wrong words" are the wire's. An answer waits for
    `other_end.stall_s` once.
    """

    END = b"\n"

    def __init__(self, other_end):
        self.other_end = other_end
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.closing.set()
        self.thread.join(5.0)

    def talk(self, receive, send):
        """Answer lines until the other end hangs up, or this one is to hang up."""
        waiting = b""
        while True:
            read = receive()
            if read == b"" or (read is None and self.closing.is_set()):  # what was sent before is heard
                return
            waiting += read or b""
            while self.END in waiting:
                line, _, waiting = waiting.partition(self.END)
                if not self.answer(line.decode(), send):
                    return

    def answer(self, line, send):
        end = self.other_end
        answer = end.handle(line.strip())
        if answer is None or end.fault == "deaf":
            return True
        if end.fault == "hang up":
            return False
        if end.fault == "wrong words":
            answer = "<script>READY\x1b[31m</script>"
        while end.fault == "stalls" and not self.closing.wait(0.01):
            pass
        stall_s, end.stall_s = end.stall_s, 0.0
        self.closing.wait(stall_s)
        half = end.fault in ("half line", "cut off")
        send(answer[: len(answer) // 2].encode() if half else answer.encode() + self.END)
        return end.fault != "cut off"


class TcpWire(Wire):
    """One client after the other at a port of 127.0.0.1; with the `port` of an earlier one it is the same come back."""

    def __init__(self, other_end, port=0):
        super().__init__(other_end)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]

    def serve(self):
        with self.listener:
            while not self.closing.is_set():
                if not select.select([self.listener], [], [], 0.01)[0]:
                    continue
                connection = self.listener.accept()[0]
                with connection, contextlib.suppress(OSError):
                    self.talk(lambda: self.received(connection), connection.sendall)  # noqa: B023

    @staticmethod
    def received(connection):
        """Bytes, none for a closed connection, None where nothing came yet."""
        return connection.recv(4096) if select.select([connection], [], [], 0.01)[0] else None

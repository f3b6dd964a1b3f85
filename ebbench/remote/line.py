"""On the laptop: one connection to the board's agent, through the system's ssh."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import tempfile
import time
from typing import IO, Any, Dict

from ebbench.errors import DeviceError, UserError
from ebbench.process import is_heard
from ebbench.remote.agent import GREETING

#: how long the first answer and every other may take (s); pieces of a file come well within it
GREETED_S, ANSWERED_S = 60.0, 30.0
#: what a login shell may print before the greeting
_MAX_NOISE_BYTES = 1 << 20
#: what ssh ends with when there is no connection, and a shell where there is no such command
_NO_CONNECTION, _NO_COMMAND = 255, (126, 127)
#: never a question: keys come from the user's agent and files, hosts from known_hosts
_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ClearAllForwardings=yes")


class LineLost(DeviceError):
    """The connection is gone; what the board does goes on."""


class Line:
    """An open connection: `ask` questions, `close` it. `greeting` is what the agent said of itself."""

    def __init__(self, on: str, command: str) -> None:
        self.on = on
        self._command = command
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - ssh writes to it for as long as it lives
        self._heard = b""
        remote = "exec " + " ".join(shlex.quote(word) for word in [*shlex.split(command), "remote-agent"])
        try:
            self._ssh = subprocess.Popen(
                ["ssh", *_OPTIONS, "--", on, remote],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is for us: we say how to come back
            )
        except OSError as error:
            self._stderr.close()
            raise UserError(f"cannot run ssh: {error.strerror}; install the OpenSSH client") from error
        try:
            self.greeting = self._greeted()
        except BaseException:
            self.close()
            raise

    def ask(self, question: str, **values: Any) -> Dict[str, Any]:
        """The board's answer, an error included (``error``, ``exit_code``). Raises LineLost where none comes."""
        assert self._ssh.stdin is not None
        try:
            self._ssh.stdin.write(json.dumps({"ask": question, **values}).encode() + b"\n")
        except OSError as error:
            raise self._lost() from error
        line = self._line(ANSWERED_S)
        try:
            answer: Dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise LineLost(f"{self.on} answered something else than ebbench does: {line[:80]!r}") from error
        return answer

    def close(self) -> None:
        """End ssh; may be called twice."""
        with contextlib.suppress(ProcessLookupError):
            self._ssh.kill()
        self._ssh.wait()
        for pipe in (self._ssh.stdin, self._ssh.stdout, self._stderr):
            assert pipe is not None
            pipe.close()

    def _greeted(self) -> Dict[str, Any]:
        """What the agent says of itself, after whatever the login shell says."""
        noise = 0
        while noise < _MAX_NOISE_BYTES:
            try:
                line = self._line(GREETED_S)
            except LineLost as error:
                raise self._refused(error) from error
            found = line.partition(GREETING)[2]
            if found:
                with contextlib.suppress(ValueError):
                    greeting: Dict[str, Any] = json.loads(found)
                    return greeting
            noise += len(line)
        raise UserError(f"{self.on} prints without end before {self._command} can answer; mend its login scripts")

    def _refused(self, error: LineLost) -> Exception:
        """Why there was no greeting, by who can mend it."""
        code, said = self._ssh.poll(), self._said()
        if code in _NO_COMMAND:
            return UserError(
                f"{self.on} cannot run {self._command!r} ({said}); install ebbench there, or name it with "
                "--on-command /full/path/to/ebbench"
            )
        if code is None or code == _NO_CONNECTION or code < 0:
            why = said if code is not None else str(error)
            return LineLost(
                f"cannot reach {self.on}: {why or 'ssh says nothing'}; "
                f"`ssh {shlex.quote(self.on)} true` must work without a password"
            )
        return UserError(
            f"{self._command!r} on {self.on} does not answer ({said or f'exit code {code}'}); "
            "install the same ebbench there as here"
        )

    def _line(self, patience_s: float) -> str:
        """The next line that the board sends."""
        assert self._ssh.stdout is not None
        deadline_s = time.monotonic() + patience_s
        while b"\n" not in self._heard:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not is_heard(self._ssh.stdout, left_s):
                raise LineLost(f"{self.on} did not answer within {patience_s:g} s")
            piece = os.read(self._ssh.stdout.fileno(), 1 << 16)
            if not piece:
                raise self._lost()
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode("utf-8", "replace")

    def _lost(self) -> LineLost:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._ssh.wait(5)
        return LineLost(f"the connection to {self.on} ended ({self._said() or 'ssh says nothing'})")

    def _said(self) -> str:
        """The last line that ssh or the board wrote to stderr, as far as it is printable."""
        descriptor = self._stderr.fileno()  # ssh writes where the file stands, so it is not moved
        content = os.pread(descriptor, 4096, max(0, os.fstat(descriptor).st_size - 4096))
        lines = content.decode("utf-8", "replace").splitlines()
        return next((said for line in reversed(lines) if (said := plain(line))), "")


def plain(text: str) -> str:
    """A line from elsewhere without what could steer a terminal."""
    return "".join(sign for sign in text if sign.isprintable()).strip()

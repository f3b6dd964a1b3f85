"""On the laptop: the board behind the line. Questions are asked again on a new line until they are answered."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Optional, Tuple, Type

from ebbench.clock import monotonic_ns
from ebbench.energy.alignment.line import Trip
from ebbench.environment import package_version
from ebbench.errors import EXIT_DEVICE, EXIT_SHORT, EXIT_USER, DeviceError, EbbenchError, RunFailed, UserError
from ebbench.remote.line import Line, LineLost, plain

#: how long to wait before the connection is tried again (s): doubled each time, up to the second
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0

_KINDS: Dict[int, Type[EbbenchError]] = {EXIT_SHORT: RunFailed, EXIT_USER: UserError, EXIT_DEVICE: DeviceError}


class RemoteBoard:
    """The board's agent, connected to at the first question.

    `meanwhile` is called several times a second while a connection that was lost is tried again, `say` gets lines for the user.
    A question raises LineLost where there was never a connection, UserError where there is not the same ebbench.
    """

    def __init__(self, on: str, command: str, say: Callable[[str], None]) -> None:
        self.on = on
        self.meanwhile: Callable[[], None] = lambda: None
        self._command, self._say, self._has_said = command, say, ""
        self._line: Optional[Line] = None
        self._was_connected = False

    def ask(self, question: str, **values: Any) -> Dict[str, Any]:
        """The board's answer, however often the connection must be made again; an error there is raised here as what it is."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                answer = self._open_line().ask(question, **values)
            except LineLost as error:
                if not self._was_connected:
                    raise
                self._lost(error)
                self._rest(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                if "error" in answer:
                    raise error_of(int(answer["exit_code"]), f"{self.on}: {plain(answer['error'])}")
                return answer

    def trip(self) -> Optional[Tuple[str, Trip]]:
        """One round trip: the board's boot, and (sent, board, received) (ns); None while there is no connection."""
        if self._line is None:
            return None
        sent_ns = monotonic_ns()
        try:
            answer = self._line.ask("clock")
        except LineLost as error:
            self._lost(error)
            return None
        return str(answer["boot_id"]), (sent_ns, int(answer["monotonic_ns"]), monotonic_ns())

    def close(self) -> None:
        """End the connection; may be called twice."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _open_line(self) -> Line:
        """The line, connected again where it was lost, and the same ebbench at its other end."""
        if self._line is None:
            line = Line(self.on, self._command)
            there, here = line.greeting.get("ebbench"), package_version("ebbench")
            if there != here:
                line.close()
                raise UserError(
                    f"{self.on} has ebbench {plain(str(there))}, this machine {here}; install the same version on both"
                )
            if self._has_said:
                self._say(f"{self.on} answers again")
            self._line, self._was_connected, self._has_said = line, True, ""
        return self._line

    def _lost(self, error: LineLost) -> None:
        """Give the line up, and say why, once per reason."""
        self.close()
        if str(error) != self._has_said:
            self._say(f"{error}; what runs there goes on, and the connection is tried again")
            self._has_said = str(error)

    def _rest(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.meanwhile()
            time.sleep(min(0.25, left_s))


def error_of(exit_code: int, message: str) -> EbbenchError:
    """The board's error as one of ours, with the same exit code."""
    return _KINDS.get(exit_code, EbbenchError)(message)

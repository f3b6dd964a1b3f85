"""Ctrl-C, or a `kill`, while a step is trained: it waits for the end of that step, so that nothing of it is trained twice."""

from __future__ import annotations

import signal
import threading
from typing import Any, Dict, Optional


class AfterStep:
    """While its block lasts, a first SIGINT or SIGTERM is only noted, until `follow`; a second one is obeyed at once, as ever.

    Only what somebody in Python answers to is held back, such as the KeyboardInterrupt of Ctrl-C; what is ignored or ends the
    process stays as it is. In another thread than the main one nothing is held back.
    """

    def __init__(self) -> None:
        self._noted: Optional[int] = None
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> AfterStep:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._obey_from_now_on()
        if kind is None:
            self.follow()

    @property
    def is_noted(self) -> bool:
        """Whether a signal waits to be followed."""
        return self._noted is not None

    def follow(self) -> None:
        """Let the signal that was noted, if any, do what it is for."""
        number, self._noted = self._noted, None
        if number is not None:
            signal.raise_signal(number)

    def _note(self, number: int, frame: Any) -> None:
        self._noted = number
        self._obey_from_now_on()

    def _obey_from_now_on(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

"""On the laptop: how far the board is, from the events of its phase log."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Dict, Set

from ebbench.energy.phases import Event

_EPOCH = re.compile(r"epoch-\d+")


class Followed:
    """The open phase and the part of the epochs that is done, as the events come in."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._open: Dict[int, str] = {}
        self._done: Set[str] = set()

    def read(self, lines: str) -> None:
        """Take in whole lines of the log, in their order."""
        for line in lines.splitlines():
            with contextlib.suppress(
                ValueError, KeyError
            ):  # a power cut may leave a line that is none; sealing will say so
                self._take(json.loads(line))

    def _take(self, event: Event) -> None:
        if event["event"] == "start":
            self._open = {}
        elif event["event"] == "begin":
            self._open[event["id"]] = event["path"]
        elif event["event"] == "end":
            path = self._open.pop(event["id"], event["path"])
            if _EPOCH.fullmatch(path.rsplit("/", 1)[-1]) and not event["failed"]:
                self._done.add(path)

    @property
    def path(self) -> str:
        """The innermost open phase; empty where none is open."""
        return next(reversed(list(self._open.values())), "")

    @property
    def fraction(self) -> float:
        """Epochs done of those that the recipe has; a run may end with fewer."""
        return min(1.0, len(self._done) / self._epochs)

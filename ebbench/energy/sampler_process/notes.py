"""Why something was not read, kept with the trace."""

from __future__ import annotations

import gc
from typing import Dict, Optional

from ebbench.energy.sampler_process.source import RETRY_NS
from ebbench.energy.traces.trace import TraceWriter


class Notes:
    """Keeps reasons, the same one at most once per second."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._next_ns: Dict[str, int] = {}
        #: the last reason
        self.reason: Optional[str] = None
        #: why the last reading lacks the total, or was none
        self.failing: Optional[str] = None

    def add(self, t_ns: int, reason: str) -> None:
        """Keep that this is why something was not read at `t_ns`."""
        self.reason = self.failing = reason
        if t_ns >= self._next_ns.get(reason, t_ns):
            self._writer.note(t_ns, reason)
            self._next_ns = {r: t for r, t in self._next_ns.items() if t > t_ns}
            self._next_ns[reason] = t_ns + RETRY_NS
            gc.collect()  # cycles come from failures alone, and nothing else collects them

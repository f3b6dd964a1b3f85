"""How long the threads of a run computed, and how long they waited for a processor that somebody else had.

``/proc/PID/task/TID/schedstat`` begins with both, in nanoseconds (Linux, Documentation/scheduler/sched-stats).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, List, Mapping, Optional

from ebbench.environment import below_root, read_text
from ebbench.units import NS_PER_S

_TIMES = re.compile(r"(\d+) (\d+) \d+")


class ProcessorState:
    """The times of all threads that the run's process has now; see `ebbench.protocols.StateSource` for the key."""

    def __init__(self, device_uuid: Optional[str], run_pid: int) -> None:
        self._tasks = below_root(f"/proc/{run_pid}/task")
        if not self._threads():
            raise FileNotFoundError(f"{self._tasks}: no thread says how long it waited")

    def read(self) -> Mapping[str, Any]:
        """Sums over the threads (s)."""
        threads = self._threads()
        ran_ns, waited_ns = (sum(times[i] for times in threads) for i in (0, 1))
        return {"processor": {"ran_s": ran_ns / NS_PER_S, "waited_s": waited_ns / NS_PER_S}} if threads else {}

    def _threads(self) -> List[List[int]]:
        texts = (read_text(str(path), Path("/")) for path in self._tasks.glob("*/schedstat"))
        found = (_TIMES.fullmatch(text or "") for text in texts)
        return [[int(times) for times in match.groups()] for match in found if match]

"""How long the threads of a run and of its children computed, and how long they waited for a processor that others had.

``/proc/PID/task/TID/schedstat`` begins with both, in nanoseconds (Linux, Documentation/scheduler/sched-stats), and ``children``
beside it lists what the thread started (Documentation/filesystems/proc); a kernel may lack that one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, List, Mapping, Optional

from ebbench.environment import below_root, read_text
from ebbench.units import NS_PER_S

_TIMES = re.compile(r"(\d+) (\d+) \d+")


class ProcessorState:
    """The times of all threads that the run and its children have now; see `ebbench.protocols.StateSource` for the key."""

    def __init__(self, device_uuid: Optional[str], run_pid: int) -> None:
        self._pid = run_pid
        if not self._threads():
            raise FileNotFoundError(f"{below_root(f'/proc/{run_pid}')}: no thread says how long it waited")

    def read(self) -> Mapping[str, Any]:
        """Sums over the threads (s)."""
        threads = self._threads()
        ran_ns, waited_ns = (sum(times[i] for times in threads) for i in (0, 1))
        return {"processor": {"ran_s": ran_ns / NS_PER_S, "waited_s": waited_ns / NS_PER_S}} if threads else {}

    def _threads(self) -> List[List[int]]:
        found: List[List[int]] = []
        pids = [self._pid]
        for pid in pids:  # which grows by the children of each
            for task in below_root(f"/proc/{pid}/task").glob("*"):
                times = _TIMES.fullmatch(read_text(str(task / "schedstat"), Path("/")) or "")
                found += [[int(part) for part in times.groups()]] if times else []
                children = (read_text(str(task / "children"), Path("/")) or "").split()
                pids += [int(child) for child in children if child.isdigit() and int(child) not in pids]
        return found

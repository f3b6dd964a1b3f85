"""The sampler's own process: its priority and its size."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, Optional


def raise_priority() -> Dict[str, Any]:
    """Ask for real-time scheduling, else for a better niceness; what was granted."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return {"scheduler": "fifo", "nice": os.nice(0)}
    with contextlib.suppress(OSError):
        os.nice(-10)
    return {"scheduler": "other", "nice": os.nice(0)}


def resident_bytes() -> Optional[int]:
    """The memory that it takes now; None where the kernel does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None

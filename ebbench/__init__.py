"""ebbench: what does it cost, in joules, to train this network this way on this board?

Importing this package loads neither torch nor matplotlib; `EnergyMonitor` is found when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["EnergyMonitor", "__version__"]

if TYPE_CHECKING:
    from ebbench.measuring.monitor import EnergyMonitor


def __getattr__(name: str) -> Any:
    if name == "EnergyMonitor":
        from ebbench.measuring.monitor import EnergyMonitor

        return EnergyMonitor
    raise AttributeError(f"module 'ebbench' has no attribute {name!r}")

"""``ebbench meters sample`` while it goes on: each rail's power, the rate that is obtained, and the last seconds drawn."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Type

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ebbench.cli.plot import plot
from ebbench.energy.traces.trace import Chunk
from ebbench.meter_trials.sampling import summarise, total_power
from ebbench.protocols import MeterInfo
from ebbench.units import NS_PER_S

#: how much of the past is drawn while it samples (s)
PAST_S = 30.0
#: rows of the drawing, and what the table and the line below it take
ROWS, OTHER_ROWS = 8, 4


class Watch:
    """Shows a meter on the terminal; where that is none, it shows nothing and costs nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._last: Optional[Any] = None
        self.is_shown = self._console.is_terminal

    def __enter__(self) -> Watch:
        if self.is_shown:
            self._live.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self.is_shown:
            self._live.stop()

    def look(self, info: MeterInfo, chunk: Chunk, start_ns: int, said: Dict[str, Any]) -> None:
        """Show the readings so far."""
        self._last = (info, chunk, start_ns)
        if not chunk.time_ns.size:
            return
        since_s = max(float(chunk.time_ns[-1] - start_ns) / NS_PER_S, 1e-3)
        past_ns = max(start_ns, int(chunk.time_ns[-1]) - int(PAST_S * NS_PER_S))
        found = summarise(info, chunk, start_ns, since_s, {"missed": said.get("missed"), "asked_hz": 0.0})
        table = _table(found["rails"], _now_w(info, chunk))
        line = f"{info.name}: {found['rate_hz']:.4g} readings/s, {_missed(said)}, {max(self._seconds - since_s, 0):.0f} s left"
        times_s, power_w = total_power(info, chunk, past_ns)
        drawing = self._drawing(times_s + (past_ns - start_ns) / NS_PER_S, power_w, len(found["rails"]))
        reason = [Text(said["reason"], style="yellow")] if said.get("reason") else []
        parts = [table, Text(line), *reason, *(Text(row, no_wrap=True) for row in drawing)]
        self._live.update(Group(*parts), refresh=True)

    def whole(self) -> List[str]:
        """All that was sampled, drawn; no line where that is no terminal."""
        if self._last is None or not self.is_shown:
            return []
        info, chunk, start_ns = self._last
        return self._drawing(*total_power(info, chunk, start_ns), 0)

    def _drawing(self, times_s: Any, power_w: Any, rails: int) -> List[str]:
        height = min(ROWS, self._console.height - rails - OTHER_ROWS - 1)
        if height < 2:
            return []
        size = {"width": self._console.width, "height": height}
        return plot(times_s, power_w, encoding=self._console.encoding, **size)


def _table(rails: Mapping[str, Mapping[str, Any]], now_w: Mapping[str, Optional[float]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("rail", overflow="fold")
    for header in ("now W", "mean", "min", "max"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, values in rails.items():
        cells = [now_w.get(name), *(values[key] for key in ("mean_w", "min_w", "max_w"))]
        table.add_row(Text(name), *("–" if cell is None else f"{cell:.4g}" for cell in cells))
    return table


def _now_w(info: MeterInfo, chunk: Chunk) -> Dict[str, Optional[float]]:
    """Each rail's last power; None where it was not read, or is only counted."""
    last: Dict[str, Optional[float]] = {}
    for rail in info.rails:
        column = chunk.values.get(f"{rail.name}_w")
        value = float(column[-1]) if column is not None and column.size else float("nan")
        last[rail.name] = value if value == value else None
    return last


def _missed(said: Mapping[str, Any]) -> str:
    return f"{said['missed']} missed" if said.get("missed") is not None else "on its own schedule"

"""On the laptop: its own meters while the board runs, and the round trips that bring their times onto the board's clock."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional

from ebbench import plugins
from ebbench.calibration import store as calibration_store
from ebbench.config import Bench
from ebbench.context import Display
from ebbench.energy.account.run_meter import infos_of
from ebbench.energy.alignment.clocks import chip_for
from ebbench.energy.alignment.links import BOARD_CLOCK, HOST, LAPTOP
from ebbench.energy.alignment.signature import CHIPS
from ebbench.energy.recording import Recording
from ebbench.remote.board import RemoteBoard
from ebbench.rundir import LaptopDir, RunDir

#: round trips at either end, of which the shortest bounds the clock best; between them there is one per look
TRIPS_AT_ENDS = 12
#: why a trace does not follow the one before it without a hole
AWAY = "this machine was not attached to the run"


class LaptopBench:
    """The meters of this machine beside the board's run: `open`, `look` now and then, `stop`. Without meters it does nothing."""

    def __init__(self, rundir: RunDir, bench: Bench, board: RemoteBoard) -> None:
        self._board = board
        here = LaptopDir(rundir.path)
        phases = str(here.phases.resolve())
        self._refs, self._rate_hz = bench.laptop_meters, bench.rate_hz
        self._chosen = plugins.choose_meters(bench.laptop_meters, None) if bench.laptop_meters else []
        self._here, self._use_calibration = plugins.choose_board(), bench.calibration
        if self._use_calibration:
            calibration_store.check(self._here, self._chosen)
        wanted = [
            (name, factory, dataclasses.replace(request, phases=phases), bench.rate_hz)
            for name, factory, request in self._chosen
        ]
        self.names = [name for name, *_ in wanted]
        self._recording = Recording(here, wanted, header={HOST: LAPTOP, "note": AWAY}) if wanted else None

    def described(self) -> List[Dict[str, Any]]:
        """What the manifest says of the meters, the reference first, with their calibrations here; known from `open` on."""
        infos = self._recording.infos if self._recording is not None else []
        meters = [{**meter, HOST: LAPTOP} for meter in plugins.described(infos, self._chosen, self._refs)]
        calibration_store.add_to(meters, infos, self._chosen, self._here, self._use_calibration)
        if self._recording is not None:
            self._recording.know(infos_of({"meters": meters}))
        return meters

    @property
    def bytes_per_s(self) -> List[float]:
        """How fast the traces here grow, known from `open` on."""
        return self._recording.bytes_per_s if self._recording is not None else []

    @property
    def signature_s(self) -> float:
        """How long a signature must be that aligns the meters here which have a clock of their own; 0 where none has one."""
        infos = self._recording.infos if self._recording is not None else []
        return CHIPS * chip_for(infos, self._rate_hz, None)

    def open(self, display: Display) -> None:
        """Start to read the meters. Raises MeterError where one cannot be read."""
        if self._recording is not None:
            self._recording.open()
            for line in self._recording.slow_meters:
                display.say(line)
            self._trips(TRIPS_AT_ENDS)

    def look(self) -> None:
        """One round trip, and whether the samplers are well."""
        if self._recording is not None:
            self._trips(1)
            self._recording.check()

    def check(self) -> None:
        """Whether the samplers are well."""
        if self._recording is not None:
            self._recording.check()

    def live(self) -> Dict[str, Any]:
        """The last word of the reference meter."""
        live: Optional[Dict[str, Any]] = self._recording.live() if self._recording is not None else None
        return live or {}

    def stop(self, status: str, reason: Optional[str]) -> None:
        """Ask for the time a last time, then end the samplers."""
        if self._recording is not None:
            try:
                self._trips(TRIPS_AT_ENDS)
            finally:
                self._recording.stop(status, reason)

    def _trips(self, count: int) -> None:
        """Make round trips and keep them in the laptop's log; fewer, or none, while there is no connection."""
        assert self._recording is not None
        made = [trip for trip in (self._board.trip() for _ in range(count)) if trip is not None]
        if made:
            self._recording.phases.mark(
                BOARD_CLOCK, boot_id=made[-1][0], trips=[t for b, t in made if b == made[-1][0]]
            )

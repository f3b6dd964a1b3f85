"""The seams: Meter, Board, Pipeline, Report and what passes through them. Each in as few verbs as possible.

A meter from outside is one class and one entry point in the group ``ebbench.meters``; likewise ``ebbench.boards``,
``ebbench.pipelines`` and ``ebbench.reports``. The built-in ones use the same door.
"""

from ebbench.protocols.board import Board, BoardChange, BoardControl, StateSource
from ebbench.protocols.meter import (
    AVERAGE,
    HOLD,
    INSTANT,
    MONOTONIC,
    REMOTE,
    STATED,
    Availability,
    Block,
    Column,
    FileMeter,
    Meter,
    MeterInfo,
    MeterRequest,
    NumberFile,
    Rail,
    StreamedMeter,
)
from ebbench.protocols.pipeline import Lending, Outcome, Pipeline, RunContext, Stage
from ebbench.protocols.report import Report

__all__ = [
    "AVERAGE",
    "HOLD",
    "INSTANT",
    "MONOTONIC",
    "REMOTE",
    "STATED",
    "Availability",
    "Block",
    "Board",
    "BoardChange",
    "BoardControl",
    "Column",
    "FileMeter",
    "Lending",
    "Meter",
    "MeterInfo",
    "MeterRequest",
    "NumberFile",
    "Outcome",
    "Pipeline",
    "Rail",
    "Report",
    "RunContext",
    "Stage",
    "StateSource",
    "StreamedMeter",
]

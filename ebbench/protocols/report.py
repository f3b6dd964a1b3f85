"""A report: renders records."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Protocol, Sequence


class Report(Protocol):
    """Renders records. One class per kind of report."""

    def render(self, runs: Sequence[Path], out: Path, options: Mapping[str, Any]) -> List[Path]:
        """Write the report of `runs`, each a run folder or a folder of them, under `out`; returns the files written.

        A report that judges has an attribute `failing` afterwards: the ids of the runs that ``--strict`` makes an exit code of 1.
        """
        ...

"""The energies of a run's amplified blocks, and what they say of one draw."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

from ebbench.energy.amplify import AmplifiedDraw, MeasuredBlock, estimate
from ebbench.records import EnergyAccount
from ebbench.units import NS_PER_S


def amplified_draw(energy: EnergyAccount, events: Sequence[Mapping[str, Any]]) -> Optional[AmplifiedDraw]:
    """The estimate from the amplified blocks of the run's last start; None where there are none with energies."""
    last = max((i for i, e in enumerate(events) if e["event"] == "start"), default=0)
    segment = sum(e["event"] == "start" for e in events) - 1
    by_path = {p["path"]: p for p in energy.phases if p["segment"] == segment and p["path"].startswith("amplify/")}
    blocks: List[MeasuredBlock] = []
    for event in events[last:]:
        if event["event"] != "mark" or event["name"] != "block" or event["values"]["path"] not in by_path:
            continue
        values, phase = event["values"], by_path[event["values"]["path"]]
        if phase["energy_j"] is not None and phase["status"] == "ok":
            blocks.append(
                MeasuredBlock(
                    values["kind"],
                    values["repeats"],
                    phase["start_ns"] / NS_PER_S,
                    phase["duration_s"],
                    phase["energy_j"],
                    phase["uncertainty_j"] or 0.0,
                    phase["common_j"] or 0.0,
                    values.get("rested_s", 0.0),
                )
            )
    return estimate(blocks) if blocks else None

"""What a run under the simulated meter really cost: an independent, slow account of a run folder, in closed form.

The true power is a stated function of the stamped edges. Time is cut at every edge; each piece is given to what was open
during it, as far as a trace of the same boot covers it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ebbench.energy.traces.trace import read_whole
from ebbench.records import OTHER_PHASES
from ebbench_devices.sim import SimulatedPower


@dataclass
class Truth:
    """Energies (J) of the covered parts and covered times (s)."""

    total_j: float = 0.0
    redone_j: float = 0.0
    other_j: float = 0.0
    covered_s: float = 0.0


def segments(folder):
    """The events of each start of the run, in order."""
    found = []
    for line in (folder / "phases.jsonl").read_text().splitlines(keepends=True):
        if not line.endswith("\n"):  # torn
            break
        event = json.loads(line)
        if event["event"] == "start":
            found.append([])
        found[-1].append(event)
    return found


def covered(folder):
    """[first, last] reading of each trace (ns), in order."""
    chunks = [read_whole(path) for path in sorted(folder.glob("trace-*.arrows"))]
    return [(int(c.time_ns[0]), int(c.time_ns[-1])) for c in chunks if c.time_ns.size]


def energy_j(folder, start_ns, end_ns):
    """The energy of the covered part of [start, end), and how long that is (s)."""
    events = [e for group in segments(folder) for e in group]
    power = SimulatedPower(events)
    parts = [(max(start_ns, first), min(end_ns, last)) for first, last in covered(folder)]
    parts = [(a, b) for a, b in parts if a < b]
    return sum(float(power.energy_j(a, b)) for a, b in parts), sum(b - a for a, b in parts) * 1e-9


def truth_of(folder):
    """The truth about a whole run."""
    found, groups = Truth(), segments(folder)
    last_ns = [_end_ns(folder, group) for group in groups]
    lost_from = _lost_from(groups)
    for number, group in enumerate(groups):
        edges = [e for e in group if e["event"] in ("begin", "end")]
        again_ns = lost_from.get(number, last_ns[number])
        times = sorted(
            {e["t_ns"] for e in edges} | {last_ns[number], min(max(again_ns, group[0]["t_ns"]), last_ns[number])}
        )
        for start_ns, end_ns in zip(times, times[1:]):
            is_open = {e["id"]: e["path"] for e in edges if e["event"] == "begin" and e["t_ns"] <= start_ns}
            for e in edges:
                if e["event"] == "end" and e["t_ns"] <= start_ns:
                    is_open.pop(e["id"], None)
            if not is_open:
                continue
            part_j, part_s = energy_j(folder, start_ns, end_ns)
            if any(path.split("/")[-1] in OTHER_PHASES for path in is_open.values()):
                found.other_j += part_j
            elif not any(path.split("/")[0] in OTHER_PHASES for path in is_open.values()):
                found.total_j += part_j
                found.covered_s += part_s
                found.redone_j += part_j if start_ns >= again_ns else 0.0
    return found


def _lost_from(groups):
    """From when on the work of a segment was lost: segment -> ns."""
    lost = {}
    for number, group in enumerate(groups):
        restored = group[0]["restored"]
        for before in range(number):
            if restored is None or before > restored["segment"]:
                lost[before] = 0
            elif before == restored["segment"]:
                lost[before] = min(lost.get(before, restored["t_ns"]), restored["t_ns"])
    return lost


def _end_ns(folder, group):
    """When a segment ended: its stop, or its last event or reading."""
    ends = [e["t_ns"] for e in group]
    if group[-1]["event"] != "stop":
        for _, last in covered(folder):
            before_next = all(g[0]["t_ns"] <= group[0]["t_ns"] or g[0]["t_ns"] > last for g in segments(folder))
            ends += [last] if last > group[0]["t_ns"] and before_next else []
    return max(ends)

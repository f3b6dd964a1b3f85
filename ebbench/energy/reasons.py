"""Why energy is missing: the holes between the traces of a meter, and what is said of an interval that is not wholly covered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, List, Optional, Sequence, Tuple

from ebbench.energy.integration.integrals import Gap, Integrals
from ebbench.energy.phases import Span
from ebbench.energy.trace_file import TraceFile
from ebbench.units import NS_PER_S

#: the mark that a meter's readings have ended for good, with its reason, and the run goes on
LOST = "meter-lost"
#: of the reasons for a sum of many intervals, so many are said
SAID = 3


@dataclass(frozen=True)
class Hole(Gap):
    """A stretch between the last reading of one trace and the first of the next, of one boot.

    `is_down`: the run itself did not run, so that nothing of it is missing.
    """

    is_down: bool


def holes_between(traces: Sequence[TraceFile], spans: Sequence[Span]) -> List[Hole]:
    """The holes between the traces of one meter; `spans`: when the run ran."""
    read = sorted((t for t in traces if t.first_ns is not None), key=lambda t: (t.boot_id, t.first_ns))
    found = []
    for before, after in zip(read, read[1:]):
        assert before.last_ns is not None and after.first_ns is not None
        if before.boot_id != after.boot_id or after.first_ns <= before.last_ns:
            continue
        ran = any(
            s.boot_id == after.boot_id and s.start_ns <= before.last_ns and after.first_ns <= s.end_ns for s in spans
        )
        why = after.metadata.get("note") or "the sampler was started again"
        said = (
            f"no reading for {(after.first_ns - before.last_ns) / NS_PER_S:.3g} s: {why if ran else 'the run was down'}"
        )
        found.append(Hole(before.last_ns, after.first_ns, said, not ran))
    return found


def reason_of(places: Sequence[Tuple[Integrals, int]], holes: Sequence[Hole]) -> str:
    """Why one interval is not wholly covered; `places`: the traces of its boot, and its number in each."""
    read = [place for place in places if place[0].first_ns is not None]
    if not read:
        return "no trace of this boot of the machine" if not places else f"{places[0][0].series.name} has no reading"
    touching = [place for place in read if _distance_ns(*place) < 0]
    said: List[Optional[str]]
    if len(touching) > 1:  # each by itself would speak of all that it lacks and the others have
        said = [gap.reason for one, at in touching for gap in one.gaps if _overlaps(gap, one, at)]
    else:
        nearest, at = min(read, key=lambda place: _distance_ns(*place))
        said = [nearest.reason(at)]
    said += [hole.reason for hole in holes if not hole.is_down and _overlaps(hole, *read[0])]
    return together(said) or "between two traces"


def together(reasons: Iterable[Optional[str]]) -> Optional[str]:
    """Several reasons in one line: each once, the first few in full."""
    said = list(dict.fromkeys(r for r in reasons if r))
    more = f"; and {len(said) - SAID} more of this kind" if len(said) > SAID else ""
    return "; ".join(said[:SAID]) + more or None


def _distance_ns(one: Integrals, at: int) -> int:
    """How far an interval is from the readings; below 0 where they touch."""
    assert one.first_ns is not None and one.last_ns is not None
    return max(one.first_ns - int(one.ends_ns[at]), int(one.starts_ns[at]) - one.last_ns)


def _overlaps(gap: Gap, one: Integrals, at: int) -> bool:
    return bool(gap.start_ns < one.ends_ns[at] and gap.end_ns > one.starts_ns[at])

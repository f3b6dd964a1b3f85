"""Sets of time: sorted stretches [start, end) in ns that do not touch."""

from __future__ import annotations

from typing import Iterable, List, Tuple

Stretch = Tuple[int, int]


def union(stretches: Iterable[Stretch]) -> List[Stretch]:
    """All time that is in at least one of the stretches."""
    joined: List[Stretch] = []
    for start, end in sorted(s for s in stretches if s[1] > s[0]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def overlap(one: List[Stretch], other: List[Stretch]) -> List[Stretch]:
    """The time that is in both sets."""
    found: List[Stretch] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            found.append((start, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(one: List[Stretch], other: List[Stretch]) -> List[Stretch]:
    """The time that is in the first set and not in the second."""
    if not one:
        return []
    first, last = one[0][0], one[-1][1]
    outside, at = [], first
    for start, end in other:
        if start > at:
            outside.append((at, start))
        at = max(at, end)
    outside.append((at, max(at, last)))
    return overlap(one, [s for s in outside if s[1] > s[0]])

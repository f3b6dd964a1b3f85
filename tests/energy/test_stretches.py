"""Sets of time obey the laws of sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ebbench.energy.integration.stretches import overlap, union, without

sets = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def moments(stretches):
    return {t for start, end in stretches for t in range(start, end)}


@given(sets, sets)
def test_they_hold_the_moments_that_sets_would(one, other):
    a, b = union(one), union(other)
    assert moments(a) == moments(one)
    assert moments(overlap(a, b)) == moments(a) & moments(b)
    assert moments(without(a, b)) == moments(a) - moments(b)


@given(sets, sets)
def test_they_are_sorted_and_do_not_touch(one, other):
    for stretches in (union(one), without(union(one), union(other))):
        assert all(start < end for start, end in stretches)
        assert all(before[1] < after[0] for before, after in zip(stretches, stretches[1:]))

"""The thread that takes readings: what it may lose it says, and nothing that a link raises ends it."""

from __future__ import annotations

import math

import pytest

from ebbench.errors import MeterError
from ebbench_devices.meter import gatherer
from ebbench_devices.meter.gatherer import Gatherer


class Link:
    """Does what it is told to do, one thing after the other, and then waits."""

    def __init__(self, deeds):
        self.deeds, self.closed = list(deeds), 0

    def take(self, into):
        if not self.deeds:
            into.closed.wait(0.05)
            return
        self.deeds.pop(0)(into)

    def close(self):
        self.closed += 1


def raises(error):
    def deed(into):
        raise error

    return deed


def read_at(time_ns, *values):
    return lambda into: into.reading(time_ns, values)


@pytest.fixture
def gathered(monkeypatch):
    """Run links one after the other until the last has done all; the block, and the links."""
    monkeypatch.setattr(gatherer, "RETRY_S", 0.001)
    made = []

    def run(*links):
        waiting = list(links)
        one = Gatherer("meter", lambda: waiting.pop(0), 2)
        made.append(one)
        one.start(5.0)
        while waiting or links[-1].deeds:
            one.closed.wait(0.001)
        one.close()
        return one.drain()

    yield run
    for one in made:
        one.close()


def test_readings_of_one_time_are_one_and_times_always_grow(gathered):
    block = gathered(Link([read_at(5, 1.0, None), read_at(5, None, 2.0), read_at(5, 3.0, None), read_at(4, 9.0, 9.0)]))
    assert block.values.tolist() == [[3.0, 2.0], [9.0, 9.0]]
    assert block.time_ns.tolist() == [5, 6]


def test_what_is_not_finite_is_not_read(gathered):
    (row,) = gathered(Link([read_at(5, math.inf, math.nan)])).values.tolist()
    assert all(math.isnan(value) for value in row)


@pytest.mark.parametrize(
    "error", [MeterError("meter: gone"), OSError(5, "gone"), ValueError("gone"), RecursionError("gone")]
)
def test_whatever_a_link_raises_is_a_note_and_it_is_connected_again(gathered, error):
    first, second = Link([read_at(5, 1.0, 1.0), raises(error)]), Link([read_at(9, 2.0, 2.0)])
    block = gathered(first, second)
    assert block.values.tolist() == [[1.0, 1.0], [2.0, 2.0]] and (first.closed, second.closed) == (1, 1)
    ((_, reason),) = block.notes
    assert "gone" in reason and reason.startswith("meter: ")


def test_what_nobody_takes_is_bounded_and_said_to_be_lost(gathered, monkeypatch):
    monkeypatch.setattr(gatherer, "MAX_WAITING", 3)
    block = gathered(Link([read_at(at, 1.0, 1.0) for at in range(1, 8)]))
    assert block.time_ns.tolist() == [1, 2, 3]
    assert any("readings were lost" in reason for _, reason in block.notes)


def test_without_a_first_reading_it_does_not_start_and_says_why(monkeypatch):
    monkeypatch.setattr(gatherer, "RETRY_S", 0.001)
    link = Link([])
    with pytest.raises(MeterError, match=r"meter: no reading within 0\.05 s"):
        Gatherer("meter", lambda: link, 1).start(0.05)
    assert link.closed == 1

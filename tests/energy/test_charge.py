"""What is charged of another run's training: which time, and how two energies add."""

from __future__ import annotations

import pytest

from ebbench.energy.charge import _added, stretches_of
from ebbench.energy.phases import Interval, Span
from ebbench.energy.uncertainty import half_width_j


def log(*rows):
    """Phases from (path, start, end, segment); a later segment is of the same boot."""
    return [Interval(p, s, e, segment, "boot", False, False, i, None) for i, (p, s, e, segment) in enumerate(rows)]


ONCE = log(
    ("idle", 0, 100, 0), ("search", 100, 900, 0), ("search/epoch-1", 100, 300, 0), ("search/epoch-1/draw", 290, 300, 0),
    ("search/evaluate", 300, 350, 0), ("search/checkpoint", 350, 360, 0), ("search/epoch-2", 370, 600, 0),
    ("search/epoch-2/draw", 590, 600, 0), ("search/epoch-3", 610, 900, 0), ("retrain", 900, 2000, 0),
    ("retrain/epoch-1", 900, 1000, 0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("epochs", "wanted"),
    [
        (1, [(100, 290), (360, 370)]),  # what lies between two epochs belongs to the first
        (2, [(100, 290), (360, 590), (600, 610)]),
        (3, [(100, 290), (360, 590), (600, 900)]),
        (4, []),
    ],
)
def test_the_time_of_the_epochs_without_evaluations_checkpoints_and_draws(epochs, wanted):
    assert stretches_of(ONCE, [], 0, "search", epochs) == wanted


def test_work_that_was_done_twice_is_charged_once():
    phases = log(
        ("train", 0, 250, 0), ("train/epoch-1", 0, 100, 0), ("train/epoch-2", 100, 200, 0), ("train/epoch-3", 200, 250, 0),
        ("train", 1000, 1400, 1), ("train/epoch-2", 1000, 1100, 1), ("train/epoch-3", 1100, 1200, 1),
        ("train/epoch-4", 1200, 1400, 1),
    )  # fmt: skip
    again = [Span(0, "boot", 150, 250)]  # from the last checkpoint on
    of = lambda epochs: [stretches_of(phases, again, segment, "train", epochs) for segment in (0, 1)]  # noqa: E731
    assert of(1) == [[(0, 100)], []]
    assert of(2) == [[(0, 150)], [(1000, 1100)]]
    assert of(3) == [[(0, 150)], [(1000, 1200)]]
    assert of(4) == [[(0, 150)], [(1000, 1400)]]


def test_what_the_meter_gets_wrong_in_both_adds_and_the_rest_adds_in_squares():
    one = {"gain": 3.0, "sampling": 3.0, "offset": 1.0, "edges": None}
    other = {"gain": 4.0, "sampling": 4.0, "edges": 2.0, "gaps": 2.0}
    found = _added(one, other)
    assert found == {"gain": 7.0, "sampling": 5.0, "offset": 1.0, "edges": None, "gaps": 2.0}
    assert half_width_j(found) == pytest.approx(2 * (49 + 25 + 1 + 4) ** 0.5)

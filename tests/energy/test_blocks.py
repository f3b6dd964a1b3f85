"""What is planned to measure a draw: as long as was asked, with pauses that take it out of step, and a middle that is measured."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ebbench.energy.blocks import DRAW, IDLE, RUNS, WINDOW, draw_in_runs, fitted, plan, time_once

LENGTHS = [(draw_s, seconds) for draw_s in (1e-5, 1e-3, 0.04, 3.0) for seconds in (5.0, 30.0)]


@pytest.fixture
def rng():
    return random.Random(0)


@pytest.mark.parametrize(("draw_s", "seconds"), LENGTHS)
def test_the_plan_takes_about_the_time_it_is_given(draw_s, seconds, rng):
    blocks = plan(draw_s, seconds, rng)
    assert [b.kind for b in blocks[:8]] == [IDLE, DRAW, DRAW, IDLE] * 2
    assert {b.kind for b in blocks[8:]} == {WINDOW}
    assert all(b.repeats > 0 for b in blocks if b.kind == DRAW)
    assert all((b.repeats + 2 * b.around) * draw_s <= b.seconds * (1 + 1e-9) for b in blocks)
    counts = sorted({b.repeats for b in blocks if b.kind == WINDOW})
    assert counts == [0, counts[1], 2 * counts[1], 4 * counts[1]]
    if draw_s < 0.01:
        assert sum(b.seconds + sum(b.rests_s) for b in blocks if b.kind != WINDOW) == pytest.approx(
            0.6 * seconds, rel=0.2
        )
        assert sum(b.seconds for b in blocks if b.kind == WINDOW) == pytest.approx(0.4 * seconds, rel=0.2)


@pytest.mark.parametrize(("draw_s", "seconds"), LENGTHS)
def test_the_runs_of_a_block_are_all_of_its_draws_and_none_is_empty(draw_s, seconds, rng):
    for block in plan(draw_s, seconds, rng):
        assert sum(count for _, count in block.runs) == block.repeats
        assert all(count > 0 for _, count in block.runs)
        assert max((c for _, c in block.runs), default=0) - min((c for _, c in block.runs), default=0) <= 1
        if block.kind == WINDOW:
            assert sum(block.rests_s) + block.repeats * draw_s <= block.seconds * (1 + 1e-9)


def test_the_rests_within_a_block_add_up_to_about_one_draw(rng):
    """So the runs begin all over the cycle of a meter in step with the draws, and hardly any time is rested."""
    blocks = [b for _ in range(200) for b in plan(0.01, 60.0, rng) if b.kind == DRAW]
    assert all(b.rests_s[0] == 0 and len(b.rests_s) == RUNS for b in blocks)
    rested_s = np.array([sum(b.rests_s) for b in blocks])
    assert rested_s.mean() == pytest.approx(0.01 * (RUNS - 1) / RUNS, rel=0.05)
    assert rested_s.max() < 0.01 * 2 and blocks[0].repeats * 0.01 > 3.0


def test_draws_and_blocks_begin_at_any_moment_of_a_cycle(rng):
    """The starts of blocks and of the draws in windows, modulo the length of a draw, are spread evenly."""
    draw_s, at_s, starts_s = 0.01, 0.0, []
    for _ in range(100):
        for block in plan(draw_s, 60.0, rng):
            if block.repeats:
                starts_s.append(at_s + block.rests_s[0])
            at_s += block.seconds
    counts, _ = np.histogram(np.mod(starts_s, draw_s), bins=10, range=(0, draw_s))
    assert counts.min() > 0.75 * counts.mean() and counts.max() < 1.25 * counts.mean()


def test_an_eighth_of_a_block_at_either_end_is_not_measured(rng):
    (block, *_) = [b for b in plan(1e-3, 60.0, rng) if b.kind == DRAW]
    assert block.around / (block.repeats + 2 * block.around) == pytest.approx(1 / 8, rel=0.01)
    (long, *_) = [b for b in plan(2.0, 5.0, rng) if b.kind == DRAW]
    assert long.around == 0 and long.repeats == 1  # a draw that long needs no help


def test_runs_are_drawn_and_rested_as_planned(rng):
    (block, *_) = [b for b in plan(1e-4, 0.05, rng) if b.kind == DRAW]
    calls = []
    rested_s = draw_in_runs(block, lambda: calls.append(1))
    assert len(calls) == block.repeats
    assert rested_s >= sum(block.rests_s) > 0


def test_one_draw_is_timed_by_the_shorter_of_two():
    calls = []
    assert time_once(lambda: calls.append(1)) >= 0
    assert len(calls) == 2


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("seconds", [1.0, 2.0, 30.0])
def test_the_whole_ends_when_it_was_asked_to_however_much_slower_the_draws_are(slower, seconds, rng):
    draw_s, edge_s = 1e-3, 1e-3  # a draw as it was timed, and what each block costs beside its draws
    blocks, known_s, at_s = plan(draw_s, seconds, rng), draw_s, 0.0
    done = []
    for number in range(len(blocks)):
        block = fitted(blocks[number:], known_s, seconds - at_s)
        at_s += block.takes_s(slower * draw_s) + edge_s
        known_s = slower * draw_s if block.kind == DRAW else known_s
        done.append(block)
    assert at_s <= seconds * 1.01
    assert at_s >= seconds * (0.95 if slower >= 1 else 0.6)
    assert [b.kind for b in done] == [b.kind for b in blocks]
    assert all(b.repeats > 0 and sum(c for _, c in b.runs) == b.repeats for b in done if b.kind == DRAW)
    assert len({b.repeats for b in done if b.kind == WINDOW}) >= 4


def test_a_block_keeps_one_draw_and_rest_for_as_long_where_there_is_no_time_for_it(rng):
    blocks = plan(3.0, 5.0, rng)
    for number, block in enumerate(blocks):
        left = fitted(blocks[number:], 3.0, -1.0)
        assert (left.repeats >= 1) == (block.repeats >= 1) and left.seconds >= 3.0

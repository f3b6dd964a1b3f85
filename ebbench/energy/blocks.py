"""What is done to measure a draw that lasts far less than a sampling period: blocks of draws and of rest, windows with both.

A meter looks at the power by a clock of its own. Where draws follow each other in step with it, every look falls on the same part
of a draw, and readings that lie still are wrong by as much as the power moves within a draw; equal blocks repeat the mistake. So
nothing here keeps step: the draws of a block come in runs, with random rests between them that add up to about one draw, and each
block and the draws of each window begin at a random moment. What the meter shows of a block does not depend on its edges either:
draws run before and after the part that is measured, long enough for most sensors to rise.

A draw takes longer on a busy machine than it was timed to take. So before each block what is left of the plan is made to fit the
time that is left (`fitted`), and the whole ends about when it was asked to.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import Callable, List, Sequence, Tuple

DRAW, IDLE, WINDOW = "draw", "idle", "window"
#: share of the time that goes to blocks; the rest goes to windows
BLOCK_SHARE = 0.6
ABBA = (IDLE, DRAW, DRAW, IDLE)
#: part of a block's draws that is not measured, at either end
AROUND = 1 / 8
#: runs that the measured draws of a block come in, and the fewest draws that one is made of
RUNS, FEWEST_DRAWS = 8, 2
#: a rest up to this long is not slept through
LONGEST_AWAKE_S = 1e-3
#: a window this long, in seconds; shorter where there is no time for two rounds
WINDOW_S = 1.0
WINDOW_DRAWS = (0, 1, 4, 2)
#: share of a window that 4n draws fill, and the runs that its draws come in
WINDOW_FILL, WINDOW_RUNS = 0.8, 4


@dataclass(frozen=True)
class Block:
    """What to do: `repeats` draws (``draw``), nothing for `seconds` (``idle``), or both in `seconds` (``window``).

    The draws come in equally long runs, each after a rest of `rests_s`. `around` more of them run before, and as many after,
    and are not measured.
    """

    kind: str
    repeats: int
    seconds: float
    rests_s: Tuple[float, ...] = ()
    around: int = 0

    @property
    def runs(self) -> List[Tuple[float, int]]:
        """Rest (s) and draws of each run; the numbers of draws differ by one at most."""
        count = len(self.rests_s)
        ends = [self.repeats * (i + 1) // count for i in range(count)]
        return [(rest_s, end - begun) for rest_s, begun, end in zip(self.rests_s, [0, *ends], ends)]

    def takes_s(self, draw_s: float) -> float:
        """How long it takes where one draw takes `draw_s`."""
        drawn_s = (self.repeats + 2 * self.around) * draw_s + sum(self.rests_s)
        return drawn_s if self.kind == DRAW else max(self.seconds, drawn_s)


def time_once(draw: Callable[[], None]) -> float:
    """How long one draw takes (s): the shorter of two, since the first may still be warming up."""
    taken_s = []
    for _ in range(2):
        start_s = time.monotonic()
        draw()
        taken_s.append(time.monotonic() - start_s)
    return min(taken_s)


def plan(draw_s: float, seconds: float, rng: random.Random) -> List[Block]:
    """Blocks and windows that take about `seconds` together, for draws of `draw_s`; at least one draw in each that has any."""
    draw_s = max(draw_s, 1e-7)
    return _blocks(draw_s, seconds, rng) + _windows(draw_s, seconds, rng)


def fitted(left: Sequence[Block], draw_s: float, left_s: float) -> Block:
    """The next of the blocks that are `left`, shorter where all of them together would take longer than `left_s`.

    One draw stays in each that has any, and rest for as long: so much is taken even where there is no time for it.
    """
    block = left[0]
    share = max(0.0, left_s / sum(b.takes_s(draw_s) for b in left))
    if share >= 1:
        return block
    repeats = max(1, round(share * block.repeats)) if block.repeats else 0
    return replace(
        block,
        repeats=repeats,
        seconds=min(block.seconds, max(share * block.seconds, draw_s)),
        rests_s=tuple(share * rest_s for rest_s in block.rests_s[:repeats]),
        around=round(share * block.around),
    )


def draw_in_runs(block: Block, draw: Callable[[], None]) -> float:
    """Do the draws of a block that are measured; how long (s) was rested between them, by the clock."""
    rested_s = 0.0
    for rest_s, count in block.runs:
        rested_s += _rest(rest_s)
        for _ in range(count):
            draw()
    return rested_s


def _rest(rest_s: float) -> float:
    """Do nothing for so long; how long it took. A short rest is waited for awake: a sleep ends late where others want the core."""
    start_s = now_s = time.monotonic()
    if rest_s > LONGEST_AWAKE_S:
        time.sleep(rest_s)
        now_s = time.monotonic()
    while now_s < start_s + rest_s:
        now_s = time.monotonic()
    return now_s - start_s


def _blocks(draw_s: float, seconds: float, rng: random.Random) -> List[Block]:
    length_s = BLOCK_SHARE * seconds / (2 * len(ABBA))
    draws = max(1, round(length_s / draw_s))
    around = round(AROUND * draws + 0.25)
    repeats = draws - 2 * around
    runs = max(1, min(RUNS, repeats // FEWEST_DRAWS))
    length_s = max(length_s, draws * draw_s)
    blocks = []
    for kind in ABBA * 2:
        if kind == DRAW:
            rests_s = (0.0, *(rng.uniform(0, 2 * draw_s / runs) for _ in range(runs - 1)))
            blocks.append(Block(DRAW, repeats, length_s, rests_s, around))
        else:
            blocks.append(Block(IDLE, 0, length_s + rng.uniform(0, draw_s)))
    return blocks


def _windows(draw_s: float, seconds: float, rng: random.Random) -> List[Block]:
    share_s = (1 - BLOCK_SHARE) * seconds
    length_s = min(WINDOW_S, share_s / (2 * len(WINDOW_DRAWS)))
    rounds = max(2, round(share_s / (len(WINDOW_DRAWS) * length_s)))
    unit = max(1, int(WINDOW_FILL * length_s / draw_s / max(WINDOW_DRAWS)))
    length_s = max(length_s, 1.1 * unit * max(WINDOW_DRAWS) * draw_s)
    windows = []
    for draws in [unit * n for n in WINDOW_DRAWS * rounds]:
        spare_s = length_s - draws * draw_s
        until_s = sorted(rng.uniform(0, spare_s) for _ in range(min(WINDOW_RUNS, draws)))
        rests_s = tuple(until - since for since, until in zip([0.0, *until_s], until_s))
        windows.append(Block(WINDOW, draws, length_s, rests_s))
    return windows

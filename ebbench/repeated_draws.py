"""A draw repeated in blocks long enough to be measured, between equal blocks of rest (`energy.blocks` says why)."""

from __future__ import annotations

import random
import time
from typing import Callable, Tuple

from ebbench.context import SessionContext
from ebbench.energy import blocks


def amplify(context: SessionContext, draw: Callable[[], None], seconds: float) -> None:
    """Repeat `draw` for about `seconds`, with a mark for each block of the phase ``amplify``."""
    draw_s = blocks.time_once(draw)
    plan = blocks.plan(draw_s, seconds, random.Random())
    end_s = time.monotonic() + seconds
    with context.phase("amplify"):
        for number in range(len(plan)):
            begun_s = time.monotonic()
            block = blocks.fitted(plan[number:], draw_s, end_s - begun_s)
            with context.phase(f"block-{number}"):
                run = _draws if block.kind == blocks.DRAW else _draws_and_rest
                measured, rested_s = run(context, block, draw)
            if block.kind == blocks.DRAW:
                draw_s = (time.monotonic() - begun_s - rested_s) / (block.repeats + 2 * block.around)
            path = f"amplify/block-{number}{measured}"
            context.mark("block", path=path, kind=block.kind, repeats=block.repeats, rested_s=rested_s)
            context.progress(number + 1, len(plan))


def _draws(context: SessionContext, block: blocks.Block, draw: Callable[[], None]) -> Tuple[str, float]:
    """Draws, of which those in the middle are measured; which phase of the block that is, and how long was rested in it (s)."""
    with context.phase("draw"):
        for _ in range(block.around):
            draw()
        with context.phase("draw"):
            rested_s = blocks.draw_in_runs(block, draw)
        for _ in range(block.around):
            draw()
    return "/draw/draw", rested_s


def _draws_and_rest(context: SessionContext, block: blocks.Block, draw: Callable[[], None]) -> Tuple[str, float]:
    """Rest for the time of the block, and draw in the middle of it if it has draws; all of it is measured."""
    end_s = time.monotonic() + block.seconds
    for rest_s, count in block.runs:
        with context.phase("idle"):
            time.sleep(rest_s)
        with context.phase("draw"):
            for _ in range(count):
                draw()
    with context.phase("idle"):
        time.sleep(max(0.0, end_s - time.monotonic()))
    return "", 0.0

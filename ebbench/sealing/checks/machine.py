"""Doubts about the machine: whether it ran at its own speed, at one speed, and for this run alone."""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping

from ebbench.records import Check
from ebbench.sealing.checks.grading import graded

#: a run that was slowed down for more than this part of its time is another run
THROTTLED_TOO_LONG = 0.05
#: a run that waited for a processor for more than this part of the time in which it wanted one took longer than it does alone
WAITED = 0.05


def machine_checks(facts: Mapping[str, Any]) -> Iterable[Check]:
    """All of them, of what the bench logged of the board."""
    for name, key, fail, advice in (
        (
            "thermal throttling", "throttled_s", THROTTLED_TOO_LONG * (facts.get("watched_s") or 0.0),
            "the board slowed itself down (board_state in the record says what); cool it, or choose a lower power mode",
        ),
        ("power mode unchanged", "power_mode_changed", 0, "the power mode changed during the run; fix it and run again"),
        (
            "clocks unchanged", "clocks_changed", math.inf,
            "the limits of the clocks changed during the run (settings_changed in the record); lock them: --lock-clocks",
        ),
    ):  # fmt: skip
        yield _fact(facts, name, key, fail, advice)
    waited = facts.get("processor_waited")
    advice = (
        "other programs (or more --threads and --workers than processors) made it wait: it took longer and more energy than alone; "
        "run it alone"
    )
    yield graded("processor to itself", waited, WAITED, math.inf, advice, "not logged by this bench")
    if "foreign_processes" in facts:
        names = ", ".join(f"{each['name']} ({each['pid']})" for each in facts.get("foreign_names") or [])
        advice = f"other programs used the GPU, and their energy is in the total: {names}; stop them and run again"
        yield _fact(facts, "GPU used by this run alone", "foreign_processes", math.inf, advice)
    if "mig" in facts:
        advice = (
            "the GPU is split (MIG), and its power is that of all parts; turn MIG off, or leave the other parts idle"
        )
        yield _fact(facts, "GPU not split", "mig", math.inf, advice)
    if "start_limit_c" in facts:
        limit_c = facts["start_limit_c"]
        advice = "the board was warmer at the start than --cooldown allows; let it cool and run again"
        yield graded("temperature at the start", facts.get("start_c"), limit_c, math.inf, advice, "not readable")


def _fact(facts: Mapping[str, Any], name: str, key: str, fail: float, advice: str) -> Check:
    value = facts.get(key)
    return graded(name, None if value is None else float(value), 0, fail, advice, "not logged by this bench")

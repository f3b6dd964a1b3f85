"""Powers over time that the simulated instruments show, with their energies in closed form. Times are of CLOCK_MONOTONIC (s)."""

from __future__ import annotations

import math
import time


class Sine:
    """About `mean_w`."""

    def __init__(self, mean_w=20.0, swing_w=12.0, period_s=1.7):
        self.mean_w, self.swing_w, self.period_s = mean_w, swing_w, period_s

    def power_w(self, at_s):
        return self.mean_w + self.swing_w * math.sin(2 * math.pi * at_s / self.period_s)

    def energy_j(self, start_s, end_s):
        turn = 2 * math.pi / self.period_s
        swung_j = self.swing_w / turn * (math.cos(turn * end_s) - math.cos(turn * start_s))
        return self.mean_w * (end_s - start_s) - swung_j


class Square:
    """Alternates between two levels every `half_s`, the lower one first, from `start_s` (now) on; before that it is the lower."""

    def __init__(self, low_w=5.0, high_w=25.0, half_s=1.7, start_s=None):
        self.low_w, self.high_w, self.half_s = low_w, high_w, half_s
        self.start_s = time.monotonic() if start_s is None else start_s

    def power_w(self, at_s):
        is_high = at_s > self.start_s and (at_s - self.start_s) % (2 * self.half_s) >= self.half_s
        return self.high_w if is_high else self.low_w

    def energy_j(self, start_s, end_s):
        return self._since_start_j(end_s) - self._since_start_j(start_s)

    def _since_start_j(self, at_s):
        if at_s <= self.start_s:
            return (at_s - self.start_s) * self.low_w
        periods, rest_s = divmod(at_s - self.start_s, 2 * self.half_s)
        low_s, high_s = min(rest_s, self.half_s), max(rest_s - self.half_s, 0.0)
        return (periods * self.half_s + low_s) * self.low_w + (periods * self.half_s + high_s) * self.high_w


def constant(power_w):
    return Square(power_w, power_w, start_s=0.0)

"""A load that can be switched on and off within milliseconds, to see how a meter follows it."""

from __future__ import annotations

import os
import time

import torch

from ebbench.clock import monotonic_ns
from ebbench.training.device import Device
from ebbench.units import NS_PER_S

#: the side of the squares that are multiplied: a product takes about a millisecond, so that the load ends when it is told to
SIDE = {"cpu": 256, "cuda": 2048}


class Load:
    """Products of matrices, as in training: on all CPU cores but one, which is the sampler's, or on the GPU."""

    def __init__(self, device: Device) -> None:
        self._device = device
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = max(1, cores - 1)
        side = SIDE[device.name.partition(":")[0]]
        noise = torch.Generator().manual_seed(1)
        self._a, self._b = (torch.randn((side, side), generator=noise).to(device.name) for _ in range(2))
        self._c = torch.empty_like(self._a)

    def run(self, end_ns: int, share: float) -> None:
        """Work for the part `share` of the time until `end_ns` (CLOCK_MONOTONIC); all work is done when it returns."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            while (start_ns := monotonic_ns()) < end_ns:
                if share == 0:
                    time.sleep((end_ns - start_ns) / NS_PER_S)
                    continue
                torch.matmul(self._a, self._b, out=self._c)
                self._device.synchronize()
                if share < 1:
                    pause_ns = (monotonic_ns() - start_ns) * (1 - share) / share
                    time.sleep(max(0.0, min(pause_ns, end_ns - monotonic_ns())) / NS_PER_S)
        finally:
            torch.set_num_threads(before)

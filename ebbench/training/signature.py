"""Work and rest in a known pattern, so that a meter with a clock of its own can be aligned by what it shows of it."""

from __future__ import annotations

import os
import time
from itertools import groupby
from typing import Any, Callable, Dict, List, Sequence

import torch

from ebbench.clock import monotonic_ns
from ebbench.units import NS_PER_S

#: one product of matrices takes at least this long, so that stamping it costs nothing, unless the matrices became too large
_PRODUCT_NS, _LARGEST = 2_000_000, 4096


def play(chips: Sequence[int], chip_s: float, device: str, look: Callable[[float], None]) -> Dict[str, Any]:
    """Work in the chips that are 1 and rest in those that are 0; when what was done, for `energy.alignment.signature.Played`.

    A stretch of work is stamped before its first product is begun and after its last is done. `look` gets the fraction
    done between the stretches. All cores work; the number of torch's threads is put back.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads)
    try:
        product = _product(device)
        busy_ns: List[List[int]] = []
        start_ns, done = monotonic_ns(), 0
        for works, run in groupby(chips):
            done += len(list(run))
            until_ns = start_ns + round(done * chip_s * NS_PER_S)
            if works:
                busy_ns.append(_work(product, until_ns))
            else:
                time.sleep(max(0.0, (until_ns - monotonic_ns()) / NS_PER_S))
            look(done / len(chips))
        return {
            "start_ns": start_ns,
            "end_ns": monotonic_ns(),
            "busy_ns": busy_ns,
            "chip_s": chip_s,
            "chips": list(chips),
        }
    finally:
        torch.set_num_threads(threads)


def _work(product: Callable[[], None], until_ns: int) -> List[int]:
    """Multiply until `until_ns`, at least once; when it began and ended (ns)."""
    begin_ns = monotonic_ns()
    product()
    while monotonic_ns() < until_ns:
        product()
    return [begin_ns, monotonic_ns()]


def _product(device: str) -> Callable[[], None]:
    """A product of two matrices that takes some milliseconds, and returns when it is done; no random number is drawn for it."""
    size = 128
    while True:
        multiply = _multiplier(device, size)
        multiply()  # the first one loads libraries
        begin_ns = monotonic_ns()
        multiply()
        if monotonic_ns() - begin_ns >= _PRODUCT_NS or size >= _LARGEST:
            return multiply
        size *= 2


def _multiplier(device: str, size: int) -> Callable[[], None]:
    matrix = torch.linspace(-1, 1, size * size, device=device).reshape(size, size)
    result = torch.empty_like(matrix)
    is_cuda = device.startswith("cuda")

    def multiply() -> None:
        torch.mm(matrix, matrix, out=result)
        if is_cuda:
            torch.cuda.synchronize(device)

    return multiply

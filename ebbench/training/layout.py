"""In which order a training keeps the values of its images in memory: channel by channel, or pixel by pixel."""

from __future__ import annotations

import copy
import time
from typing import Callable, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from ebbench.protocols import RunContext

CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels_last"
MEMORY_FORMATS: Dict[str, torch.memory_format] = {
    CONTIGUOUS: torch.contiguous_format,
    CHANNELS_LAST: torch.channels_last,
}

#: on a CPU with torch 2, channels-last was the faster one in every network (CPU time of a step, one thread, the heap of `heap`):
#: 1.2x in vgg16-small, 1.03 to 1.09x in VGG16 (1.15 and 1.3x pruned), 1.3x in PreResNet101, 1.1x in ResNet18 and 50. With torch
#: 1.11 it is slower: 0.7x in PreResNet101, 0.8 to 0.95x in VGG16
TORCH_FOR_CHANNELS_LAST = 2
#: from this compute capability on (A100, Orin) channels-last is taken. It was the faster one in single timings of VGG16 on
#: one H100 that no benchmark here repeats; older GPUs were not tried
CAPABILITY_FOR_CHANNELS_LAST = (8, 0)
TIMED_STEPS = 3


def choose_layout(
    context: RunContext,
    model: nn.Module,
    batch: Callable[[], Tuple[torch.Tensor, torch.Tensor]],
    *,
    taken: Optional[str],
    is_repeatable: bool,
) -> str:
    """The layout for a whole run, with a mark that says by what it was chosen.

    That of the run whose training is `taken`; else a rule where the run is to be repeatable (see `layout_by_rule`), and a
    stopwatch on a `batch` of images where not.
    """
    if taken is not None:
        chosen, by = taken, "the run whose training is taken"
    elif is_repeatable:
        chosen, by = layout_by_rule(capability_of(context.device), torch.__version__), "rule"
    else:
        with context.phase("warmup"):
            chosen, by = layout_by_timing(model.to(context.device), *batch()), "timing"
    context.mark("memory_format", chosen=chosen, by=by)
    return chosen


def capability_of(device: str) -> Optional[Tuple[int, int]]:
    """The compute capability of a CUDA device; None for a CPU."""
    return None if device == "cpu" else torch.cuda.get_device_capability(torch.device(device))


def layout_by_rule(capability: Optional[Tuple[int, int]], torch_version: str) -> str:
    """The layout that is usually the faster one, from facts that do not change between two runs on one machine.

    The layout decides the last bits of the weights, and which one a stopwatch favours may change from run to run: so
    what is to be repeatable goes by this rule. `capability` is the GPU's, None on a CPU.
    """
    if capability is not None:
        is_faster = capability >= CAPABILITY_FOR_CHANNELS_LAST
    else:
        is_faster = int(torch_version.partition(".")[0]) >= TORCH_FOR_CHANNELS_LAST
    return CHANNELS_LAST if is_faster else CONTIGUOUS


def layout_by_timing(model: nn.Module, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> str:
    """The layout in which a copy of `model` does a training step on this batch faster; `model` stays as it is."""
    seconds = step_times(model, x_BCHW, y_B)
    return min(seconds, key=lambda name: seconds[name])


def step_times(model: nn.Module, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> Dict[str, float]:
    """Seconds of a forward and backward pass in each layout: the least of some, after one that does not count."""
    copies = {name: copy.deepcopy(model).to(memory_format=layout) for name, layout in MEMORY_FORMATS.items()}
    images = {name: x_BCHW.contiguous(memory_format=layout) for name, layout in MEMORY_FORMATS.items()}
    times: Dict[str, List[float]] = {name: [] for name in copies}
    for _ in range(1 + TIMED_STEPS):  # in turns, so that a passing disturbance does not decide
        for name, copied in copies.items():
            start_s = time.perf_counter()
            F.cross_entropy(copied(images[name]), y_B).backward()
            if x_BCHW.is_cuda:
                torch.cuda.synchronize(x_BCHW.device)
            times[name].append(time.perf_counter() - start_s)
    return {name: min(values[1:]) for name, values in times.items()}

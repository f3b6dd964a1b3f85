"""The same kind of work before the measurement, so that the board is warm when it begins."""

from __future__ import annotations

import time
from typing import Callable

import torch
import torch.nn.functional as F

from ebbench.config import Recipe
from ebbench.training.compat import set_arithmetic, sgd
from ebbench.training.layout import MEMORY_FORMATS, capability_of, layout_by_rule
from ebbench.training.models import build_model


def warm_up(recipe: Recipe, device: str, seconds: float, look: Callable[[float], None]) -> int:
    """Train a throw-away copy of the recipe's network on noise for `seconds`; returns the number of steps.

    Nothing of it reaches the run: the network, the noise and their random numbers are its own. `look` gets the seconds
    done after every step.
    """
    torch.set_num_threads(recipe.threads)
    set_arithmetic(recipe.deterministic, recipe.tf32)
    model = build_model(recipe.model, num_classes=10, seed=recipe.seed)
    layout = MEMORY_FORMATS[layout_by_rule(capability_of(device), torch.__version__)]
    model = model.to(device).to(memory_format=layout)
    noise = torch.Generator().manual_seed(recipe.seed)
    x_BCHW = (
        torch.randn((recipe.batch_size, *model.input_shape), generator=noise)
        .to(device)
        .contiguous(memory_format=layout)
    )
    y_B = torch.zeros(recipe.batch_size, dtype=torch.int64, device=device)
    optimizer = sgd(model.parameters(), lr=1e-3, momentum=recipe.momentum)
    started_s, steps = time.monotonic(), 0
    while (done_s := time.monotonic() - started_s) < seconds:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x_BCHW), y_B).backward()
        optimizer.step()
        steps += 1
        look(done_s)
    return steps

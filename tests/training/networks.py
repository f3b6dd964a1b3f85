"""Networks that look trained, masks for them, and training in plain torch: the masked and the pruned network side by side."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ebbench.training.compat import foreach_sign
from ebbench.training.models import build_model
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of
from ebbench.training.pruning.ranking import GROUPED, Ranking

CLASSES = 4


def trained_looking(name, dtype=torch.float64, seed=0, widths=None):
    """A network whose scales, shifts, biases and running statistics all differ, as after training."""
    model = build_model(name, CLASSES, widths, seed).to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    for norm in model.prunable_norms():
        norm.weight.data.uniform_(-1.2, 1.2, generator=generator)
        norm.bias.data.normal_(0, 0.3, generator=generator)
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.bias.data.normal_(0, 0.3, generator=generator)
    return model


def random_mask(sizes, rng, ratio=0.5):
    return draw_mask(rng.random(sum(sizes), dtype=np.float32), ratio, sizes)


def skewed_mask(sizes, rng, ratio=0.5):
    """Some layers lose nearly everything, others nothing."""
    weights = np.repeat(rng.random(len(sizes)) ** 3, sizes)
    return draw_mask((weights * rng.random(sum(sizes))).astype(np.float32), ratio, sizes)


def alike_mask(sizes, rng, ratio=0.5):
    """Layers of one size keep nearly the same channels, so that channels of residual streams go too."""
    common = {size: rng.random(size) for size in set(sizes)}
    scales = np.concatenate([common[size] + 0.1 * rng.random(size) for size in sizes])
    return draw_mask(scales.astype(np.float32), ratio, sizes)


MASKS = {"random": random_mask, "skewed": skewed_mask, "alike": alike_mask}


def mask_of(model, kind, seed=0, ratio=0.5):
    """One of `MASKS`, or of random scales with ``masks = "grouped"``."""
    sizes, rng = layer_sizes_of(model), np.random.default_rng(seed)
    if kind == GROUPED:
        return Ranking(model, GROUPED).draw(rng.random(sum(sizes), dtype=np.float32), ratio)
    return MASKS[kind](sizes, rng, ratio)


def images(model, seed, count, dtype):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, *model.input_shape, generator=generator, dtype=dtype),
        torch.randint(0, CLASSES, (count,), generator=generator),
    )


def train(model, steps, dtype, held=None, l1=1e-3, lr=0.05, batch=6):
    """SGD with momentum, weight decay and L1 on the scales, on a few random images."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-3)
    for step in range(steps):
        x, y = images(model, step, batch, dtype)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        scales = [norm.weight for norm in model.prunable_norms()]
        with torch.no_grad():
            torch._foreach_add_([s.grad for s in scales], foreach_sign(scales), alpha=l1)
        optimizer.step()
        if held is not None:
            held.hold(optimizer)


def relative_difference(a, b):
    """Max norm, relative to the larger tensor."""
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()

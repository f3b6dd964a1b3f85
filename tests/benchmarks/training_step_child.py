"""One network in a process of its own: does a training step for each line on stdin, answers with its CPU seconds and its loss.

Alone in its process, because oneDNN keeps only so many prepared operations, and two networks would push out each other's.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ebbench.training import compat, heap
from ebbench.training.models import build_model
from ebbench.training.precision.block import BlockPrecision
from ebbench.training.precision.full import FullPrecision
from ebbench.training.precision.mixed import MixedPrecision
from ebbench.training.precision.noise import Noise
from ebbench.training.precision.wage import WagePrecision
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of
from ebbench.training.pruning.physical import HeldMask, plan_of, reinit
from ebbench.training.sgd import add_l1

L1 = 1e-4
PRECISIONS = {
    "float32": FullPrecision,
    "block": lambda: BlockPrecision(Noise(1, "cpu"), "stochastic"),
    "wage": lambda: WagePrecision(Noise(1, "cpu")),
    "mixed": lambda: MixedPrecision("cpu", "bfloat16"),
}


class Gather(nn.Module):
    """A layer that takes the channels whose entry in a vector is not zero, looked up anew in every forward pass."""

    def __init__(self, channels):
        super().__init__()
        self.indexes = nn.Parameter(torch.ones(channels))

    def forward(self, x_BCHW):
        chosen = np.flatnonzero(self.indexes.detach().cpu().numpy())
        return x_BCHW[:, torch.from_numpy(chosen)]


def add_gather_layers(model):
    for block in (block for stage in model.stages for block in stage):
        block.norm1 = nn.Sequential(block.norm1, Gather(block.norm1.num_features))
    model.norm = nn.Sequential(model.norm, Gather(model.norm.num_features))


def add_l1_layer_by_layer(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.grad.data.add_(L1 * torch.sign(module.weight.data))


def pruned(model, order):
    """A network of a random mask with fresh weights, and what holds the channels that cannot be removed."""
    sizes = layer_sizes_of(model)
    mask = draw_mask(np.random.default_rng(1).random(sum(sizes), dtype=np.float32), order["prune_ratio"], sizes)
    live = plan_of(model, mask, order["residual"]).live
    small = reinit(model, mask, 1, order["residual"])
    return small, None if live.all() else HeldMask(small, live)


def main() -> None:
    order = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    is_peer = order.get("peer", False)
    if not is_peer:
        heap.keep_freed()  # as a training does; the public code leaves the heap as it is
    if order.get("deterministic", False):
        compat.set_arithmetic(deterministic=True)
    layout = getattr(torch, order["layout"])
    model, held = build_model(order.get("model", "vgg16"), 10, order.get("widths"), seed=1), None
    shape = model.input_shape
    if "prune_ratio" in order:
        model, held = pruned(model, order)
    gammas = [norm.weight for norm in model.prunable_norms()]
    if is_peer:
        add_gather_layers(model)
    model = model.to(memory_format=layout)
    torch.manual_seed(1)
    x_BCHW = torch.randn(order["batch"], *shape).contiguous(memory_format=layout)
    y_B = torch.randint(0, 10, (order["batch"],))
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    optimizer = (
        torch.optim.SGD(model.parameters(), **settings) if is_peer else compat.sgd(model.parameters(), **settings)
    )
    precision = PRECISIONS[order.get("precision", "float32")]()
    precision.attach(model)
    for step, _ in enumerate(sys.stdin):
        start_s = time.process_time()
        precision.begin("train", 0, step)
        optimizer.zero_grad(set_to_none=True)
        with precision.arithmetic():
            logits = model(x_BCHW)
            loss = F.cross_entropy(logits, y_B)
        precision.backward(loss, optimizer)
        if is_peer:
            add_l1_layer_by_layer(model)
            logits.detach().topk(5)[1].eq(y_B[:, None]).sum().item()  # an accuracy of every step
        else:
            add_l1(gammas, L1)
        precision.step(optimizer)
        if held is not None:
            held.hold(optimizer)
        print(time.process_time() - start_s, loss.item(), flush=True)


if __name__ == "__main__":
    main()

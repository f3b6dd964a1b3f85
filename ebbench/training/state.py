"""Where a training is, as arrays and JSON: all that a killed one needs to end with the same bits as one that was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch
from torch import nn

from ebbench.training.provenance import arithmetic

Arrays = Dict[str, np.ndarray]


@dataclass
class TrainState:
    """The position of a training, at a step boundary, and what it has found so far.

    `stage` is the top-level phase that is open; `epoch` counts the completed epochs of the stage's schedule and `step` the
    completed steps of the epoch that is open. `images` counts the images processed, each step once, by phase (``search``,
    ``search/evaluate``). `facts` and `arrays` are the method's own.
    """

    stage: str
    memory_format: str
    epoch: int = 0
    step: int = 0
    images: Dict[str, int] = field(default_factory=dict)
    #: one entry {"stage", "epoch", "top1", "top5"} for every evaluation; accuracies are fractions
    accuracy: List[Dict[str, Any]] = field(default_factory=list)
    facts: Dict[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    def book(self, path: str, images: int) -> None:
        """Count `images` more under this phase."""
        self.images[path] = self.images.get(path, 0) + images

    def best_top1(self, stage: str) -> Optional[float]:
        """The best top-1 accuracy among the evaluations of `stage`; None before the first."""
        return max((entry["top1"] for entry in self.accuracy if entry["stage"] == stage), default=None)


def pack(
    state: TrainState, model: nn.Module, optimizer: torch.optim.Optimizer, losses: torch.Tensor
) -> Tuple[Arrays, Dict[str, Any]]:
    """The checkpoint of a training as (arrays, JSON): no pickle. `losses` is float32 [steps], of the epoch that is open."""
    arrays = {f"model/{name}": to_numpy(value) for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:  # there is none before the first step
            arrays[f"momentum/{name}"] = to_numpy(momentum)
    arrays["losses"] = to_numpy(losses[: state.step])
    arrays.update({f"method/{name}": value for name, value in state.arrays.items()})
    document = {
        "stage": state.stage,
        "epoch": state.epoch,
        "step": state.step,
        "memory_format": state.memory_format,
        "widths": list(model.widths),
        "images": dict(state.images),
        "accuracy": list(state.accuracy),
        "facts": dict(state.facts),
        "arithmetic": arithmetic(),
    }
    return arrays, document


def unpack(arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> TrainState:
    """The position from what `pack` gave; weights, momentum and losses are put back by `restore`."""
    own = {name[len("method/") :]: value for name, value in arrays.items() if name.startswith("method/")}
    names = ("stage", "memory_format", "epoch", "step", "images", "accuracy", "facts")
    return TrainState(arrays=own, **{name: document[name] for name in names})


def restore(
    arrays: Mapping[str, np.ndarray], model: nn.Module, optimizer: torch.optim.Optimizer, losses: torch.Tensor
) -> None:
    """Put weights, running statistics, momentum and the open epoch's losses back, in place."""
    load_weights(model, {n[len("model/") :]: v for n, v in arrays.items() if n.startswith("model/")})
    for name, parameter in model.named_parameters():
        if f"momentum/{name}" in arrays:
            buffer = torch.empty_like(parameter)  # the parameter's memory layout, as the optimiser's own would have
            buffer.requires_grad_(False).copy_(torch.from_numpy(arrays[f"momentum/{name}"]))
            optimizer.state[parameter]["momentum_buffer"] = buffer
    done = arrays["losses"]
    losses[: len(done)] = torch.from_numpy(done).to(losses.device)


def weights_of(model: nn.Module) -> Arrays:
    """A copy of all weights and running statistics, by name."""
    return {name: to_numpy(value) for name, value in model.state_dict().items()}


def load_weights(model: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Put back what `weights_of` gave, in place: the model keeps its device and memory layout."""
    model.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()})


def to_numpy(value: torch.Tensor) -> np.ndarray:
    """A copy of a tensor that later steps do not change."""
    return np.array(value.detach().cpu().numpy(), order="C", copy=True)

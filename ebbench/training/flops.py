"""Arithmetic of a whole training, by method, without training: what ``ebbench flops`` says.

``total = sum over phases of epochs x images x (FLOPs of one image's step)``; conventions and counting in `forward_cost`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from torch import nn

from ebbench.errors import ConfigError, InputError, nearest
from ebbench.training import synthetic
from ebbench.training.forward_cost import (
    EXACT,
    PAPER,
    ForwardCost,
    check_convention,
    draw_cost,
    forward_cost,
)
from ebbench.training.mask_file import load_masks
from ebbench.training.models import build_model
from ebbench.training.npz import read_npz
from ebbench.training.pruning import plan_of

__all__ = ["EXACT", "PAPER", "ForwardCost", "document", "draw_cost", "forward_cost", "training_flops", "uniform_widths"]

DENSE, PRUNED = "dense", "pruned"
DEFAULT_PRUNE_RATIO = 0.5
#: six masks make the five distances of Algorithm 1, so no ticket is found before
EARLIEST_TICKET = 6

#: (phase, epochs, network) from the epochs of a full training and the ticket's epoch
Schedule = Callable[[int, int], List[Tuple[str, int, str]]]
SCHEDULES: Dict[str, Schedule] = {
    "dense": lambda epochs, ticket: [("train", epochs, DENSE)],
    # an unstructured mask saves no arithmetic: both trainings are dense (Table 2 charges the same at every ratio)
    "lt": lambda epochs, ticket: [("train", epochs, DENSE), ("retrain", epochs, DENSE)],
    "snip": lambda epochs, ticket: [("train", epochs, DENSE)],
    "ns": lambda epochs, ticket: [("train", epochs, DENSE), ("finetune", epochs, PRUNED)],
    "thinet": lambda epochs, ticket: [("train", epochs, DENSE), ("finetune", epochs, PRUNED)],
    "eb-ff": lambda epochs, ticket: [("search", ticket, DENSE), ("retrain", epochs - ticket, PRUNED)],
    "eb-reinit": lambda epochs, ticket: [("search", ticket, DENSE), ("retrain", epochs, PRUNED)],
}


@dataclass(frozen=True)
class Size:
    """Images of the training and the test part, classes, and the epochs of the paper's protocol."""

    train: int
    test: int
    classes: int
    epochs: int = 160


SIZES: Mapping[str, Size] = {
    "cifar10": Size(50_000, 10_000, 10),
    "cifar100": Size(50_000, 10_000, 100),
    "synthetic": Size(synthetic.TRAIN_IMAGES, synthetic.TEST_IMAGES, synthetic.CLASSES),
}


def training_flops(model: nn.Module, images: int, convention: str = EXACT) -> int:
    """FLOPs of training `model` on `images` images, those of all epochs together."""
    return forward_cost(model).training_flops(convention) * images


def document(
    model: str,
    dataset: str,
    method: str,
    *,
    prune_ratio: Optional[float] = None,
    epochs: Optional[int] = None,
    ticket_epoch: Optional[int] = None,
    widths: Union[str, Sequence[int], None] = None,
    pruned_forward: Optional[float] = None,
    convention: str = EXACT,
) -> Dict[str, Any]:
    """The JSON document of ``ebbench flops``. Raises ConfigError and InputError, one line each.

    `widths`: "uniform", kept channels per layer, a run folder, or a file of either kind. `pruned_forward`: GFLOPs (1e9) of one
    forward pass of the pruned network, in place of widths. In a phase, `images` are those of one epoch and `forward_flops`
    is one image's. `total_flops` is training alone; `evaluation` stands beside it.
    """
    check_convention(convention)
    size, schedule = _size_of(dataset), _schedule_of(method)
    assumptions: List[str] = []
    epochs = size.epochs if epochs is None else epochs
    ticket = _ticket_epoch(method, ticket_epoch, epochs, assumptions)
    network = build_model(model, size.classes)
    dense = forward_cost(network)
    costs = {DENSE: _StepCost.counted(dense, convention)}
    plan = schedule(epochs, ticket)
    if any(which == PRUNED for _, _, which in plan):
        costs[PRUNED] = _pruned_cost(
            network, costs[DENSE], prune_ratio, widths, pruned_forward, convention, assumptions
        )
    phases = [_phase(name, length, size.train, costs[which]) for name, length, which in plan]
    return {
        "model": model,
        "dataset": dataset,
        "method": method,
        "forward_flops": 2 * dense.macs if convention == EXACT else dense.counter_flops,
        "forward_macs": dense.macs,
        "parameters": dense.parameters,
        "prunable_channels": sum(norm.num_features for norm in network.prunable_norms()),
        "total_flops": sum(phase["flops"] for phase in phases),
        "phases": phases,
        "convention": convention,
        "pruned": costs[PRUNED].to_json() if PRUNED in costs else None,
        "evaluation": _evaluation(plan, costs, size.test) if convention == EXACT else None,
        "assumptions": assumptions,
    }


def uniform_widths(widths: Sequence[int], prune_ratio: float) -> Tuple[int, ...]:
    """int(C (1 - p)) channels of every layer, at least one: ThiNet's widths, which reproduce Table 2."""
    # the ratio as it was typed: 1 - .9 in binary would lose a channel of ten
    return tuple(max(1, int(round(width * (1 - prune_ratio), 9))) for width in widths)


@dataclass(frozen=True)
class _StepCost:
    """One image through one network: forward and whole training step, in FLOPs of the convention."""

    forward: int
    step: int
    widths: Optional[Tuple[int, ...]] = None
    macs: Optional[int] = None
    parameters: Optional[int] = None

    @classmethod
    def counted(cls, cost: ForwardCost, convention: str, widths: Optional[Tuple[int, ...]] = None) -> _StepCost:
        return cls(cost.forward_flops(convention), cost.training_flops(convention), widths, cost.macs, cost.parameters)

    def to_json(self) -> Dict[str, Any]:
        return {
            "forward_flops": self.forward,
            "forward_macs": self.macs,
            "parameters": self.parameters,
            "widths": None if self.widths is None else list(self.widths),
        }


def _phase(name: str, epochs: int, images: int, cost: _StepCost) -> Dict[str, Any]:
    flops = epochs * images * cost.step
    return {"phase": name, "epochs": epochs, "images": images, "forward_flops": cost.forward, "flops": flops}


def _evaluation(plan: Sequence[Tuple[str, int, str]], costs: Mapping[str, _StepCost], images: int) -> Dict[str, Any]:
    """One pass over the test images after each epoch, forward only; not part of the total."""
    return {
        "phase": "evaluate",
        "epochs": sum(length for _, length, _ in plan),
        "images": images,
        "flops": sum(length * images * costs[which].forward for _, length, which in plan),
    }


def _pruned_cost(
    network: nn.Module,
    dense: _StepCost,
    prune_ratio: Optional[float],
    widths: Union[str, Sequence[int], None],
    pruned_forward: Optional[float],
    convention: str,
    assumptions: List[str],
) -> _StepCost:
    if pruned_forward is not None:
        if widths is not None:
            raise ConfigError(
                "--widths and --pruned-forward both say how large the pruned network is; give one of them"
            )
        if not 0 < pruned_forward * 1e9 <= dense.forward:
            raise ConfigError(
                f"--pruned-forward {pruned_forward}: GFLOPs above 0 are needed, and at most the dense {dense.forward / 1e9:.4g}"
            )
        if convention == EXACT:
            assumptions.append("the pruned network's layers are not known: its step is counted as 3 x forward")
        forward = round(pruned_forward * 1e9)
        return _StepCost(forward, 3 * forward)
    kept = _kept_widths(network, prune_ratio, widths, assumptions)
    pruned = build_model(network.name, network.num_classes, kept)
    return _StepCost.counted(forward_cost(pruned), convention, kept)


def _kept_widths(
    network: nn.Module, prune_ratio: Optional[float], widths: Union[str, Sequence[int], None], assumptions: List[str]
) -> Tuple[int, ...]:
    if widths is None or widths == "uniform":
        ratio = DEFAULT_PRUNE_RATIO if prune_ratio is None else prune_ratio
        if not 0 < ratio < 1:
            raise ConfigError(f"--prune-ratio {ratio} is outside (0, 1); 0.5 prunes half of the channels")
        if prune_ratio is None:
            assumptions.append(f"prune ratio {ratio}, the default")
        if widths is None:
            assumptions.append("every layer loses the same fraction of its channels (--widths uniform)")
        return uniform_widths(network.widths, ratio)
    kept = _read_widths(Path(widths), network) if isinstance(widths, str) else tuple(widths)
    if len(kept) != len(network.widths) or any(not 1 <= k <= w for k, w in zip(kept, network.widths)):
        raise InputError(f"{widths}: widths {list(kept)} do not fit {network.name} with {list(network.widths)}")
    return kept


def _read_widths(path: Path, network: nn.Module) -> Tuple[int, ...]:
    """Kept channels per layer: from the last mask of a run folder or a ``masks.npz``, or the numbers of a text file."""
    path = path / "masks.npz" if path.is_dir() else path
    if path.suffix == ".npz":
        masks = load_masks(path).masks
        if not len(masks):
            raise InputError(f"{path} holds no mask; the run drew none")
        return plan_of(network, masks[-1]).widths
    try:
        text = path.read_text(encoding="utf-8")
        numbers = json.loads(text) if text.lstrip().startswith("[") else re.split(r"[\s,]+", text.strip())
        return tuple(int(number) for number in numbers)
    except FileNotFoundError as error:
        raise InputError(
            f"--widths {path}: 'uniform', a run folder or a file is needed, and that is not there"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a list of kept channels per layer, such as [32, 32, 64]: {error}") from error


def _ticket_epoch(method: str, ticket: Optional[int], epochs: int, assumptions: List[str]) -> int:
    if epochs < 1:
        raise ConfigError(f"--epochs {epochs} is below 1")
    if not method.startswith("eb-"):
        return 0
    if ticket is None:
        ticket = min(EARLIEST_TICKET, epochs)
        assumptions.append(f"ticket at epoch {ticket}, the earliest possible (--ticket-epoch)")
    if not 1 <= ticket <= epochs:
        raise ConfigError(f"--ticket-epoch {ticket} is outside 1..{epochs}")
    return ticket


def _schedule_of(method: str) -> Schedule:
    if method not in SCHEDULES:
        raise ConfigError(f"unknown method {method!r}; {nearest(method, SCHEDULES)}")
    return SCHEDULES[method]


def _size_of(dataset: str) -> Size:
    kind, _, rest = dataset.partition(":")
    if kind == "npz" and rest:
        arrays, classes = read_npz(Path(rest))
        return Size(len(arrays.y_train), len(arrays.y_test), classes)
    if dataset not in SIZES:
        raise ConfigError(f"unknown dataset {dataset!r}; {nearest(dataset, SIZES)}; files are named npz:FILE")
    return SIZES[dataset]

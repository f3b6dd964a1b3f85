"""Arithmetic of a whole training, by method, without training: what ``ebbench flops`` says.

``total = sum over phases of epochs x images x (FLOPs of one image's step)``; conventions and counting in `forward_cost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from torch import nn

from ebbench.config.method_settings import AUTO
from ebbench.errors import ConfigError, nearest
from ebbench.training.counting.forward_cost import (
    EXACT,
    PAPER,
    ForwardCost,
    check_convention,
    draw_cost,
    forward_cost,
)
from ebbench.training.counting.trials import CostAt, Trials
from ebbench.training.data import synthetic
from ebbench.training.data.npz import read_npz
from ebbench.training.data.pictures.folder import list_folder
from ebbench.training.models import Network, empty_model
from ebbench.training.pruning.ranking import PER_LAYER
from ebbench.training.pruning.widths import UNIFORM, Pruning

__all__ = ["EXACT", "PAPER", "ForwardCost", "document", "draw_cost", "forward_cost", "training_flops"]

DENSE, PRUNED = "dense", "pruned"
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
    # its masks are soft: every step is a dense one
    "sfp": lambda epochs, ticket: [("train", epochs, DENSE)],
    "eb-reinit": lambda epochs, ticket: [("search", ticket, DENSE), ("retrain", epochs, PRUNED)],
    # an operation in 8 bits counts as one
    **dict.fromkeys(
        ("eb-ff", "eb-lf", "eb-ll", "eb-wage", "eb-amp"),
        lambda epochs, ticket: [("search", ticket, DENSE), ("retrain", epochs - ticket, PRUNED)],
    ),
}
#: what Table 3 charges where it is not what the method runs
PAPER_SCHEDULES: Dict[str, Schedule] = {
    "sfp": lambda epochs, ticket: [("train", epochs, DENSE), ("finetune", epochs, PRUNED)],
}
#: draws that pass images through the network; how many is a setting of the recipe, and a run's record counts them
UNCOUNTED_DRAWS = {
    "snip": "the one batch that the mask is drawn from is not counted",
    "thinet": "the forward passes that the channels are chosen from are not counted",
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
    "imagenet": Size(1_281_167, 50_000, 1000, epochs=90),
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
    prune_ratio: Union[str, float, None] = None,
    epochs: Optional[int] = None,
    ticket_epoch: Optional[int] = None,
    retrain_epochs: str = "remaining",
    widths: Union[str, Sequence[int], None] = None,
    masks: str = PER_LAYER,
    residual: Optional[str] = None,
    pruned_forward: Optional[float] = None,
    dense_forward: Optional[float] = None,
    convention: str = EXACT,
    trials: Optional[Trials] = None,
    width_multiple: Optional[int] = None,
) -> Dict[str, Any]:
    """The JSON document of ``ebbench flops``. Raises ConfigError and InputError, one line each.

    `widths`, `masks`, `residual`, `width_multiple`: see `Pruning`. `pruned_forward` and `dense_forward`: GFLOPs (1e9) of one
    forward pass, in place of what is counted. In a phase, `images` are those of one epoch and `forward_flops` is one image's.
    `total_flops` is training alone; `evaluation` stands beside it. `trials`: those of ``prune_ratio = "auto"``, whose networks
    are uniform.
    """
    check_convention(convention)
    size, schedule = _size_of(dataset), _schedule_of(method, retrain_epochs, convention)
    assumptions: List[str] = []
    trials = _trials(
        prune_ratio, trials, method, assumptions, is_given=widths not in (None, UNIFORM) or pruned_forward is not None
    )
    ratio = trials.chosen if trials is not None else prune_ratio
    pruning = Pruning(ratio, widths, masks, residual, assumptions, width_multiple)
    _assume_what_is_charged(method, convention, assumptions)
    epochs = size.epochs if epochs is None else epochs
    ticket = _ticket_epoch(method, ticket_epoch, epochs, assumptions)
    network = empty_model(model, size.classes)
    dense = forward_cost(network)
    plan = schedule(epochs, ticket)
    costs = {DENSE: _StepCost.counted(dense, convention)}
    if dense_forward is not None:
        costs[DENSE] = _given(dense_forward, "--dense-forward", convention, assumptions)
    if any(which == PRUNED for _, _, which in plan):
        costs[PRUNED] = _pruned_cost(network, costs[DENSE], pruning, pruned_forward, convention)
    phases = _phases(plan, size.train, costs, trials)
    if trials is not None:
        cost_at = _cost_at(network, costs[DENSE], masks, residual, width_multiple, convention)
        phases[1:1] = trials.phases(size.train, cost_at)
    return {
        "model": model,
        "dataset": dataset,
        "method": method,
        "forward_flops": _forward_flops(dense, dense_forward, convention),
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


def _phases(
    plan: Sequence[Tuple[str, int, str]], images: int, costs: Mapping[str, _StepCost], trials: Optional[Trials]
) -> List[Dict[str, Any]]:
    """The phases of training; a search that trials follow trains without the images that those are judged by."""
    held = trials.held_out(images) if trials is not None else 0
    return [
        _phase(name, length, images - (held if name == "search" else 0), costs[which]) for name, length, which in plan
    ]


def _assume_what_is_charged(method: str, convention: str, assumptions: List[str]) -> None:
    if convention == EXACT and method in UNCOUNTED_DRAWS:
        assumptions.append(UNCOUNTED_DRAWS[method])
    if convention == PAPER and method in PAPER_SCHEDULES:
        assumptions.append(
            f"{method!r} is charged as in the paper's Table 3, a dense and a pruned training; it runs one, dense"
        )


def _cost_at(
    network: Network, dense: _StepCost, masks: str, residual: Optional[str], multiple: Optional[int], convention: str
) -> CostAt:
    """The cost of a trial's network by its ratio, all layers pruned alike."""

    def cost_at(ratio: float) -> Tuple[int, int]:
        cost = dense
        if ratio:
            kept = Pruning(ratio, UNIFORM, masks, residual, multiple=multiple)
            cost = _pruned_cost(network, dense, kept, None, convention)
        return cost.forward, cost.step

    return cost_at


def _trials(
    ratio: Union[str, float, None], trials: Optional[Trials], method: str, assumptions: List[str], *, is_given: bool
) -> Optional[Trials]:
    """The trials of a ratio that is to be found; None where it is given. Raises ConfigError for what does not go with either."""
    if ratio != AUTO:
        if isinstance(ratio, str):
            raise ConfigError(f"--prune-ratio {ratio}: a number such as 0.5 is needed, or {AUTO!r}")
        if trials not in (None, Trials()):
            raise ConfigError(
                f"--auto-chosen and the other --auto options are for --prune-ratio {AUTO}; leave them out"
            )
        return None
    if is_given:
        raise ConfigError(f"--prune-ratio {AUTO} has networks of many widths; leave --widths and --pruned-forward out")
    return (trials or Trials()).settled(method, assumptions)


def _forward_flops(dense: ForwardCost, given: Optional[float], convention: str) -> int:
    """One image's forward pass through the dense network; by the paper's counter not rounded."""
    if given is not None:
        return round(given * 1e9)
    return 2 * dense.macs if convention == EXACT else dense.counter_flops


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


def _given(gflops: float, option: str, convention: str, assumptions: List[str]) -> _StepCost:
    """The cost of a network of which no more than one forward pass is known."""
    if not 0 < gflops < float("inf"):
        raise ConfigError(f"{option} {gflops}: GFLOPs above 0 are needed")
    if convention == EXACT:
        assumptions.append(f"{option}: the layers are not known, a step is counted as 3 x forward")
    forward = round(gflops * 1e9)
    return _StepCost(forward, 3 * forward)


def _pruned_cost(
    network: Network, dense: _StepCost, pruning: Pruning, pruned_forward: Optional[float], convention: str
) -> _StepCost:
    if pruned_forward is None:
        kept = pruning.widths_of(network)
        return _StepCost.counted(forward_cost(empty_model(network.name, network.num_classes, kept)), convention, kept)
    if pruning.widths is not None:
        raise ConfigError("--widths and --pruned-forward both say how large the pruned network is; give one of them")
    cost = _given(pruned_forward, "--pruned-forward", convention, pruning.assumptions)
    if cost.forward > dense.forward:
        raise ConfigError(
            f"--pruned-forward {pruned_forward}: GFLOPs above 0 are needed, and at most the dense {dense.forward / 1e9:.4g}"
        )
    return cost


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


def _schedule_of(method: str, retrain_epochs: str, convention: str) -> Schedule:
    if method not in SCHEDULES:
        raise ConfigError(f"unknown method {method!r}; {nearest(method, SCHEDULES)}")
    if retrain_epochs not in ("remaining", "full"):
        raise ConfigError(f"--retrain-epochs {retrain_epochs}: {nearest(retrain_epochs, ('remaining', 'full'))}")
    if method.startswith("eb-") and retrain_epochs == "full":
        return SCHEDULES["eb-reinit"]
    return PAPER_SCHEDULES.get(method, SCHEDULES[method]) if convention == PAPER else SCHEDULES[method]


def _size_of(dataset: str) -> Size:
    kind, _, rest = dataset.partition(":")
    if kind == "npz" and rest:
        arrays, classes = read_npz(Path(rest))
        return Size(len(arrays.y_train), len(arrays.y_test), classes)
    if kind == "imagefolder" and rest:
        train, val, classes = list_folder(Path(rest))
        return Size(len(train.files), len(val.files), len(classes))
    if dataset not in SIZES:
        raise ConfigError(
            f"unknown dataset {dataset!r}; {nearest(dataset, SIZES)}; files are named npz:FILE, folders imagefolder:DIR"
        )
    return SIZES[dataset]

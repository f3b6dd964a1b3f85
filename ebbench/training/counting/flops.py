"""Arithmetic of a whole training, by method, without training: what ``ebbench flops`` says.

``total = sum over phases of epochs x images x (FLOPs of one image's step)``; conventions and counting in `forward_cost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from ebbench.config.method_settings import AUTO
from ebbench.errors import ConfigError
from ebbench.training.counting.forward_cost import EXACT, check_convention
from ebbench.training.counting.image_cost import ImageCost, ImageCosts
from ebbench.training.counting.schedules import (
    DENSE,
    PRUNED,
    Plan,
    charged_otherwise,
    schedule_of,
    ticket_epoch_of,
)
from ebbench.training.counting.sizes import size_of
from ebbench.training.counting.trials import Trials
from ebbench.training.models import empty_model
from ebbench.training.pruning.ranking import PER_LAYER
from ebbench.training.pruning.widths import UNIFORM, Pruning


@dataclass(frozen=True)
class Training:
    """A training that is only counted; of what is None, the usual is taken, and said so.

    `widths`, `masks`, `residual`, `width_multiple`: see `Pruning`. `pruned_forward` and `dense_forward`: GFLOPs (1e9) of one
    forward pass, in place of what is counted. `trials`: those of ``prune_ratio = "auto"``, whose networks are uniform.
    """

    model: str
    dataset: str
    method: str
    prune_ratio: Union[str, float, None] = None
    epochs: Optional[int] = None
    ticket_epoch: Optional[int] = None
    retrain_epochs: str = "remaining"
    widths: Union[str, Sequence[int], None] = None
    masks: str = PER_LAYER
    residual: Optional[str] = None
    pruned_forward: Optional[float] = None
    dense_forward: Optional[float] = None
    convention: str = EXACT
    trials: Optional[Trials] = None
    width_multiple: Optional[int] = None

    def settled_trials(self, assumptions: List[str]) -> Optional[Trials]:
        """The trials of a ratio that is to be found; None where it is given. Raises ConfigError for what does not go with that."""
        ratio = self.prune_ratio
        if ratio != AUTO:
            if isinstance(ratio, str):
                raise ConfigError(f"--prune-ratio {ratio}: a number such as 0.5 is needed, or {AUTO!r}")
            if self.trials not in (None, Trials()):
                raise ConfigError(
                    f"--auto-chosen and the other --auto options are for --prune-ratio {AUTO}; leave them out"
                )
            return None
        if self.widths not in (None, UNIFORM) or self.pruned_forward is not None:
            raise ConfigError(
                f"--prune-ratio {AUTO} has networks of many widths; leave --widths and --pruned-forward out"
            )
        return (self.trials or Trials()).settled(self.method, assumptions)

    def pruning(self, ratio: Any, assumptions: List[str]) -> Pruning:
        """How the network becomes smaller, at this ratio."""
        return Pruning(ratio, self.widths, self.masks, self.residual, assumptions, self.width_multiple)


def document(asked: Training) -> Dict[str, Any]:
    """The JSON document of ``ebbench flops``. Raises ConfigError and InputError, one line each.

    In a phase, `images` are those of one epoch and `forward_flops` is one image's. `total_flops` is training alone;
    `evaluation` stands beside it.
    """
    convention = asked.convention
    check_convention(convention)
    assumptions: List[str] = []
    size, schedule = size_of(asked.dataset), schedule_of(asked.method, asked.retrain_epochs, convention)
    trials = asked.settled_trials(assumptions)
    pruning = asked.pruning(asked.prune_ratio if trials is None else trials.chosen, assumptions)
    assumptions += charged_otherwise(asked.method, convention)
    epochs = size.epochs if asked.epochs is None else asked.epochs
    plan = schedule(epochs, ticket_epoch_of(asked.method, asked.ticket_epoch, epochs, assumptions))
    of_image = ImageCosts(empty_model(asked.model, size.classes), convention, asked.dense_forward, assumptions)
    costs = {DENSE: of_image.dense}
    if any(network == PRUNED for _, _, network in plan):
        costs[PRUNED] = of_image.pruned(pruning, asked.pruned_forward)
    phases = _phases(plan, size.train, costs, trials)
    if trials is not None:
        phases[1:1] = trials.phases(size.train, lambda ratio: of_image.at(ratio, pruning))
    return {
        "model": asked.model,
        "dataset": asked.dataset,
        "method": asked.method,
        **of_image.to_json(),
        "total_flops": sum(phase["flops"] for phase in phases),
        "phases": phases,
        "convention": convention,
        "pruned": costs[PRUNED].to_json() if PRUNED in costs else None,
        "evaluation": _evaluation(plan, costs, size.test) if convention == EXACT else None,
        "assumptions": assumptions,
    }


def _phases(plan: Plan, images: int, costs: Mapping[str, ImageCost], trials: Optional[Trials]) -> List[Dict[str, Any]]:
    """The phases of training; a search that trials follow trains without the images that those are judged by."""
    held = trials.held_out(images) if trials is not None else 0
    return [
        _phase(name, epochs, images - (held if name == "search" else 0), costs[network])
        for name, epochs, network in plan
    ]


def _phase(name: str, epochs: int, images: int, cost: ImageCost) -> Dict[str, Any]:
    flops = epochs * images * cost.step
    return {"phase": name, "epochs": epochs, "images": images, "forward_flops": cost.forward, "flops": flops}


def _evaluation(plan: Plan, costs: Mapping[str, ImageCost], images: int) -> Dict[str, Any]:
    """One pass over the test images after each epoch, forward only; not part of the total."""
    return {
        "phase": "evaluate",
        "epochs": sum(epochs for _, epochs, _ in plan),
        "images": images,
        "flops": sum(epochs * images * costs[network].forward for _, epochs, network in plan),
    }

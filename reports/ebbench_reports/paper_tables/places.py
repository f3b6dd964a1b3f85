"""Where a run stands in the paper's tables, in the paper's terms."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from ebbench_reports.compare import Group
from ebbench_reports.published import canonical

Place = Dict[str, str]

#: epochs of the paper's protocol
PAPER_EPOCHS = {"imagenet": 90}
CIFAR_EPOCHS = 160


def paper_epochs(recipe: Mapping[str, Any]) -> int:
    """How long the paper trains on this data set."""
    return PAPER_EPOCHS.get(str(recipe.get("dataset")), CIFAR_EPOCHS)


def draw_epoch(recipe: Mapping[str, Any]) -> Optional[str]:
    """At which epoch of the paper's 160 the ticket was drawn, as its tables name it; None where the search decided."""
    draw, epochs = recipe.get("draw"), recipe.get("epochs")
    if draw == "final":
        return "final"
    if isinstance(draw, (list, tuple)) and draw and epochs:
        return canonical(draw[0] * paper_epochs(recipe) / epochs)
    return None


def place_of(group: Group) -> Place:
    """Where a group stands in the paper's tables; settings in the paper's terms."""
    recipe = group.recipe
    fractions = recipe.get("search_milestones") or recipe.get("milestones") or ()
    milestones = [canonical(fraction * paper_epochs(recipe)) for fraction in fractions]
    is_dense = recipe.get("method") == "dense"
    return {
        "model": str(recipe.get("model")),
        "dataset": str(recipe.get("dataset")),
        "method": str(recipe.get("method")),
        "prune_ratio": "" if is_dense else canonical(recipe.get("prune_ratio")),
        "lr_schedule": ";".join(f"{epoch}:x0.1" for epoch in milestones),
        "initial_lr": canonical(recipe.get("search_rate") or recipe.get("learning_rate")),
        "draw_epoch": draw_epoch(recipe) or "",
    }

"""Where in its first training a run draws its ticket, and the name under which another run keeps what that draw needs."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict

from ebbench.config import Recipe


def draw_of(recipe: Recipe) -> Dict[str, Any]:
    """What decides where in its first training a run draws its ticket; dense training ends where it ends."""
    draw: Dict[str, Any] = {"draw": "final" if recipe.method == "dense" else recipe.settings()["draw"]}
    if draw["draw"] == "early-bird":
        names = ("prune_ratio", "epsilon", "fifo_length", "pairs", "masks")
        draw.update({name: getattr(recipe, name) for name in names})
    if recipe.measure_epochs is not None:
        draw["trained"] = trained_epochs(recipe)  # not of `epochs` alone: `ticket_epoch` ends a search too
    return draw


def planned_epochs(recipe: Recipe) -> int:
    """How many epochs the training before a draw takes at most; where it is cut short, those that it is assumed to take."""
    if not isinstance(recipe.draw, str):
        return max(recipe.draw)
    return recipe.ticket_epoch if recipe.draw == "early-bird" and recipe.ticket_epoch else recipe.epochs


def trained_epochs(recipe: Recipe) -> int:
    """How many of them are trained at most: all, unless only some of them are measured."""
    return recipe.trained_of(planned_epochs(recipe))


def is_cut(recipe: Recipe) -> bool:
    """Whether epochs of the training before a draw are left out, unless its mask settles before."""
    return trained_epochs(recipe) < planned_epochs(recipe)


def kept_name(recipe: Recipe) -> str:
    """The file in which what `recipe` takes is kept by the run that lends it."""
    text = json.dumps(draw_of(recipe), sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.npz"

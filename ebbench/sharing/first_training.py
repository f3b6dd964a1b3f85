"""Which runs begin with the same training, and how much of it each of them takes.

Dense training, the lottery ticket and ThiNet begin alike; network slimming and a search of EB Train begin alike too, with L1, at
every prune ratio. Such a first training has to be done once: the run that did it lends it to the others of its matrix, and its
energy is charged to each. What must be equal is every setting that the training depends on, the seed too.
"""

from __future__ import annotations

import json
from typing import Dict, List, Optional, Sequence, Tuple

from ebbench.config import Recipe
from ebbench.config.method_settings import AUTO, READERS, is_one_of
from ebbench.training.draws import draw_of, is_cut, trained_epochs

WITHOUT_L1, WITH_L1 = ("dense", "lt", "thinet"), ("ns", "eb-*")
#: settings that no bit of a training depends on, or that stand for themselves in the key
_APART = (
    "method", "checkpoint_s", "share_phases", "learning_rate", "milestones", *READERS,
)  # fmt: skip


def key_of(recipe: Recipe) -> Optional[str]:
    """What the first training of a run depends on: equal texts, equal trainings. None where it is not to be shared."""
    if not recipe.share_phases:
        return None
    if recipe.prune_ratio == AUTO:
        return None  # its search does without the images that are held out
    if _goes_back(recipe):
        return None  # no epoch's weights but the last one's are kept of a training that is cut short
    if not is_one_of(recipe.method, (*WITHOUT_L1, *WITH_L1)):
        return None
    settings = {name: value for name, value in recipe.settings().items() if name not in _APART}
    settings["l1"] = recipe.l1 if is_one_of(recipe.method, WITH_L1) else 0.0
    settings["rate"] = recipe.learning_rate if recipe.search_rate is None else recipe.search_rate
    settings["falls"] = list(recipe.search_milestones or recipe.milestones)
    settings["arithmetic"] = _arithmetic(recipe)
    return json.dumps(settings, sort_keys=True)


def _goes_back(recipe: Recipe) -> bool:
    """Whether a training that is cut short draws at an epoch before the last one that is trained."""
    draw = draw_of(recipe)["draw"]
    return is_cut(recipe) and not isinstance(draw, str) and draw[0] < trained_epochs(recipe)


def _arithmetic(recipe: Recipe) -> str:
    if recipe.method in ("eb-lf", "eb-ll"):
        return f"8-bit block floating point, {recipe.rounding}"
    return {"eb-wage": "8-bit integers", "eb-amp": f"mixed, {recipe.amp_dtype}"}.get(recipe.method, "float32")


def stage_of(recipe: Recipe) -> str:
    """The phase that is the first training."""
    return "search" if is_one_of(recipe.method, ("eb-*",)) else "train"


def alike(recipe: Recipe, others: Sequence[Recipe]) -> List[Recipe]:
    """Those of the other recipes that begin with the same training."""
    key = key_of(recipe)
    return [] if key is None else [other for other in others if other != recipe and key_of(other) == key]


def lender_first(recipes: Sequence[Recipe]) -> List[Recipe]:
    """The same recipes, each group that begins alike led by the one whose first training is the longest; else in their order."""
    groups: Dict[Optional[str], List[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(key_of(recipe), []).append(recipe)
    found: List[Recipe] = []
    for recipe in recipes:
        key = key_of(recipe)
        if key is not None and groups[key]:
            found.append(max(groups.pop(key), key=_least_and_most_epochs))
            groups[key] = []
        if recipe not in found:
            found.append(recipe)
    return found


def _least_and_most_epochs(recipe: Recipe) -> Tuple[int, int]:
    """How long the first training is; a search may end early."""
    most = trained_epochs(recipe)
    return 0 if draw_of(recipe)["draw"] == "early-bird" else most, most

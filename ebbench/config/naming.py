"""The name of a run, and what tells apart those that share all but the end of one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ebbench.config.bench import Bench
from ebbench.config.method_settings import reads
from ebbench.config.recipe import Recipe, ratio_text
from ebbench.meter_ref import MeterRef

#: the settings that a run's name spells out
_NAMED = ("method", "model", "dataset", "prune_ratio", "seed")


def run_id(recipe: Recipe, bench: Bench) -> str:
    """Name a run after what distinguishes it: ``eb-ff-vgg16-cifar10-p0.5-s1-3fa2b1c4``.

    The tail hashes every setting of the recipe and the bench that differs from its default, so that a setting added
    later with a default does not rename old runs.
    """
    own_defaults = type(recipe)(method=recipe.method)
    differing = {"recipe": _differing(recipe, own_defaults), "bench": _differing(bench, Bench())}
    if recipe.method != Recipe.method:
        differing["recipe"]["method"] = recipe.method
    text = json.dumps(differing, sort_keys=True, default=MeterRef.settings)
    dataset = recipe.dataset.partition(":")[0]
    ratio = f"-p{ratio_text(recipe.prune_ratio)}" if reads(recipe.method, "prune_ratio") else ""
    return f"{recipe.method}-{recipe.model}-{dataset}{ratio}-s{recipe.seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _differing(settings: Any, defaults: Any) -> Dict[str, Any]:
    """The fields that are not at their defaults."""
    return {
        f.name: getattr(settings, f.name)
        for f in dataclasses.fields(settings)
        if getattr(settings, f.name) != getattr(defaults, f.name)
    }


def told_apart(recipes: Sequence[Mapping[str, Any]]) -> List[str]:
    """For each recipe (its settings) what tells it from those of the same name: ``draw = 10, search_rate = 0.01``, else nothing."""
    alike: Dict[Tuple[str, ...], List[Mapping[str, Any]]] = {}
    for recipe in recipes:
        alike.setdefault(_named(recipe), []).append(recipe)
    return [_differences(recipe, alike[_named(recipe)]) for recipe in recipes]


def _named(recipe: Mapping[str, Any]) -> Tuple[str, ...]:
    return tuple(str(recipe.get(name)) for name in _NAMED)


def _differences(recipe: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    set_here = {name: value for name, value in recipe.items() if value is not None}
    differing = [name for name, value in set_here.items() if any(other.get(name) != value for other in others)]
    return ", ".join(f"{name} = {_text(set_here[name])}" for name in differing)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

"""The name of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Dict

from ebbench.config.bench import Bench
from ebbench.config.method_settings import reads
from ebbench.config.recipe import Recipe, ratio_text
from ebbench.meter_ref import MeterRef


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

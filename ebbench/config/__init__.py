"""Recipe (what to run) and Bench (with what to measure it), from TOML and JSON values. Both are frozen."""

from ebbench.config.bench import Bench, load_bench, read_bench
from ebbench.config.naming import run_id, told_apart
from ebbench.config.recipe import Recipe, make_recipe, ratio_text
from ebbench.config.recipe_faults import AUTO_SETTINGS, FEWEST_HELD_OUT, foreign_settings
from ebbench.config.values import load_toml, refuse_unknown, typed_scalar

__all__ = [
    "AUTO_SETTINGS",
    "FEWEST_HELD_OUT",
    "Bench",
    "Recipe",
    "foreign_settings",
    "load_bench",
    "load_toml",
    "make_recipe",
    "ratio_text",
    "read_bench",
    "refuse_unknown",
    "run_id",
    "told_apart",
    "typed_scalar",
]

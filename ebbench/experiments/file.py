"""Experiment files: what an experiment's runs share, its matrices, its scaled versions, and the recipes that they make."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ebbench.config import (
    AUTO_SETTINGS,
    Bench,
    Recipe,
    foreign_settings,
    load_bench,
    load_toml,
    make_recipe,
    refuse_unknown,
    typed_scalar,
)
from ebbench.config.method_settings import AUTO, READERS, reads
from ebbench.errors import ConfigError, Faults, nearest

RECIPE_KEYS = tuple(field.name for field in dataclasses.fields(Recipe))
#: the tables of a file
SECTIONS = ("experiment", "recipe", "matrix", "bench", "scale")
#: the settings that name something
RECIPE_NAMES = ("method", "model", "dataset")
BENCH_NAMES = ("meters", "board")


@dataclass(frozen=True)
class Experiment:
    """A name, the recipes in the order in which they are run, and the bench's settings that the file fixes."""

    name: str
    description: str
    recipes: Tuple[Recipe, ...]
    bench: Bench
    #: whether `auto` may fall back on the simulated meter (the quickstart alone says so)
    may_simulate: bool = False
    #: the names of its scaled versions
    scales: Tuple[str, ...] = ()


def load_experiment(
    path: Path,
    overrides: Mapping[str, Any],
    bench_overrides: Mapping[str, Any],
    scale: Optional[str] = None,
) -> Experiment:
    """Read an experiment's TOML and expand its matrix; `overrides` with a list widen or replace the matrix.

    The file has ``[experiment]`` (description, may_simulate), ``[recipe]``, ``[matrix]`` (recipe fields with lists; several
    matrices are ``[[matrix]]``, one after the other), ``[bench]``, and ``[scale.NAME]``: recipe fields, a table ``bench`` and
    matrices, that stand in the place of the others where that scale is asked for. Raises ConfigError with all faults of the file.
    """
    return _expanded(load_toml(path), path, overrides, bench_overrides, scale)


def load_names(
    path: Path, overrides: Mapping[str, Any], bench_overrides: Mapping[str, Any], scale: Optional[str] = None
) -> Experiment:
    """Of an experiment that is refused, the names alone, all else at its default: they can be looked at all the same."""

    def names_of(table: Any, names: Sequence[str] = RECIPE_NAMES) -> Dict[str, Any]:
        return {key: value for key, value in table.items() if key in names} if isinstance(table, dict) else {}

    def runs_of(table: Any, **own: Any) -> Dict[str, Any]:
        parts = table if isinstance(table, dict) else {}
        matrices = {"matrix": [names_of(m) for m in _listed(parts["matrix"])]} if "matrix" in parts else {}
        return {**own, **matrices, "bench": names_of(parts.get("bench"), BENCH_NAMES)}

    document = load_toml(path)
    scaled = document.get("scale", {}).get(scale) if isinstance(document.get("scale"), dict) else None
    named = runs_of(document, recipe=names_of(document.get("recipe")))
    named["scale"] = {} if scaled is None else {scale: runs_of(scaled, **names_of(scaled))}
    return _expanded(
        named, path, names_of(overrides), names_of(bench_overrides, BENCH_NAMES), None if scaled is None else scale
    )


def _expanded(
    document: Mapping[str, Any],
    path: Path,
    overrides: Mapping[str, Any],
    bench_overrides: Mapping[str, Any],
    scale: Optional[str],
) -> Experiment:
    _check_sections(document, path)
    matrices = _listed(document.get("matrix", {}))
    scales = document.get("scale", {})
    faults = Faults()
    with faults.gathered():
        refuse_unknown(document, SECTIONS, f"{path}")
    with faults.gathered():
        _check_about(document.get("experiment", {}), path)
    with faults.gathered():
        refuse_unknown(document.get("recipe", {}), RECIPE_KEYS, f"{path} [recipe]")
    for matrix in matrices:
        with faults.gathered():
            _check_matrix(matrix, f"{path} [matrix]")
    for name, table in scales.items():
        with faults.gathered():
            _check_scale(table, path, f"scale.{name}")
    if scale is not None and scale not in scales:
        faults.found.append(f"{path} has no scale {scale!r}; {nearest(scale, scales)}")

    scaled = dict(scales.get(scale or "", {}))
    bench_scaled = scaled.pop("bench", {}) if isinstance(scaled.get("bench", {}), dict) else {}
    matrices = _listed(scaled.pop("matrix", matrices))
    fixed = {name: [value] for name, value in document.get("recipe", {}).items() if name in RECIPE_KEYS}
    with faults.gathered():
        bench = load_bench({**document.get("bench", {}), **bench_scaled}, bench_overrides, f"{path} [bench]")
    with faults.gathered():
        recipes = _recipes([{**fixed, **_known_axes(matrix), **_axes(scaled)} for matrix in matrices], overrides)
    faults.refuse()
    about = document.get("experiment", {})
    may_simulate = bool(about.get("may_simulate", False))
    return Experiment(
        path.stem, about.get("description", ""), tuple(recipes), bench, may_simulate, tuple(sorted(scales))
    )


def _check_sections(document: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError for what is no table where one must be: nothing in it can be looked at."""
    faults = Faults()
    for section, table in ((name, document[name]) for name in SECTIONS if name in document):
        if not isinstance(table, dict) and not (section == "matrix" and _are_tables(table)):
            faults.found.append(f"{path}: {section} = {table!r} is not a table; write [{section}] and its keys below")
    for name, table in document.get("scale", {}).items() if isinstance(document.get("scale", {}), dict) else ():
        if not isinstance(table, dict):
            faults.found.append(
                f"{path}: scale.{name} = {table!r} is not a table; write [scale.{name}] and its keys below"
            )
    faults.refuse()


def _check_about(about: Mapping[str, Any], path: Path) -> None:
    faults = Faults()
    with faults.gathered():
        refuse_unknown(about, ("description", "may_simulate"), f"{path} [experiment]")
    for key, kind in (("description", "str"), ("may_simulate", "bool")):
        if key in about:
            with faults.gathered():
                typed_scalar(f"{path} [experiment] {key}", about[key], kind)
    faults.refuse()


def _listed(matrices: Any) -> List[Any]:
    return matrices if isinstance(matrices, list) else [matrices]


def _check_matrix(matrix: Mapping[str, Any], where: str) -> None:
    faults = Faults()
    with faults.gathered():
        refuse_unknown(matrix, RECIPE_KEYS, where)
    for key, values in matrix.items():
        if not isinstance(values, list) or not values:
            faults.found.append(f"{where} {key}: a non-empty list is needed")
    faults.refuse()


def _known_axes(matrix: Mapping[str, Any]) -> Dict[str, List[Any]]:
    """What is right of a matrix, so that its values can be looked at where its keys are wrong."""
    if not isinstance(matrix, dict):
        return {}
    return {key: values for key, values in matrix.items() if key in RECIPE_KEYS and isinstance(values, list) and values}


def _check_scale(scale: Mapping[str, Any], path: Path, name: str) -> None:
    faults = Faults()
    with faults.gathered():
        refuse_unknown(scale, (*RECIPE_KEYS, "bench", "matrix"), f"{path} [{name}]")
    for matrix in _listed(scale.get("matrix", {})):
        if isinstance(matrix, dict):
            with faults.gathered():
                _check_matrix(matrix, f"{path} [{name}.matrix]")
        else:
            faults.found.append(
                f"{path} [{name}] matrix = {matrix!r} is not a table; write [{name}.matrix] and its keys"
            )
    bench = scale.get("bench", {})
    if isinstance(bench, dict):
        with faults.gathered():
            load_bench(bench, {}, f"{path} [{name}.bench]")
    else:
        faults.found.append(f"{path} [{name}] bench = {bench!r} is not a table; write [{name}.bench]")
    faults.refuse()


def _axes(scaled: Mapping[str, Any]) -> Dict[str, List[Any]]:
    """The settings of a scale as axes of the matrix: a list is several values.

    A setting that is itself a list of numbers has several values where these are lists, or names: ``draw = [[1], [2], "final"]``.
    """
    kinds = {f.name: str(f.type) for f in dataclasses.fields(Recipe)}

    def is_axis(name: str, value: Any) -> bool:
        is_listed = "Tuple[" in kinds[name] or "Draw" in kinds[name]
        return isinstance(value, list) and (not is_listed or any(isinstance(each, (list, str)) for each in value))

    return {name: value if is_axis(name, value) else [value] for name, value in scaled.items() if name in kinds}


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _recipes(matrices: Sequence[Mapping[str, List[Any]]], overrides: Mapping[str, Any]) -> List[Recipe]:
    """The recipes of a file's matrices with what was typed on top, interleaved by replicate across the matrices too.

    A setting of the file that only methods read which the command line has replaced goes with them.
    """
    typed = {name: list(values) for name, values in overrides.items()}
    own = _methods(matrices)
    methods = _methods([{**matrix, **typed} for matrix in matrices])
    gone = {n for n in READERS if not _is_read(n, methods) and _is_read(n, own)}
    found: List[Recipe] = []
    for matrix in matrices:
        kept = {name: values for name, values in matrix.items() if name not in gone}
        found += expand({**kept, **typed}, methods, typed)
    seeds = list(dict.fromkeys(recipe.seed for recipe in found))
    return sorted(dict.fromkeys(found), key=lambda recipe: seeds.index(recipe.seed))


def _methods(matrices: Sequence[Mapping[str, Sequence[Any]]]) -> List[str]:
    return [method for matrix in matrices for method in matrix.get("method", [Recipe.method])]


def _is_read(setting: str, methods: Iterable[str]) -> bool:
    return any(reads(method, setting) for method in methods)


def expand(
    axes: Mapping[str, Sequence[Any]], methods: Optional[Sequence[str]] = None, typed: Iterable[str] = ()
) -> List[Recipe]:
    """All combinations of the axes, interleaved by replicate: the seed varies slowest, so heat meets every method alike.

    `methods` are those of the whole experiment (None: of these axes). A setting that one of them reads is left out of the
    recipes of those that do not, so that dense training, which has no prune ratio, is run once where that varies. One that
    none of them reads is refused; at its default only where it was `typed`, since a file may spell out all. Likewise the
    settings of a ratio that is to be found, where others are given too, and a `ticket_epoch` beside draws of which some state
    their epoch. Raises ConfigError with the faults of all recipes.
    """
    methods = _methods([axes]) if methods is None else methods
    names = sorted(axes, key=lambda name: name != "seed")
    is_assumed = any(draw in ("early-bird", "best-accuracy") for draw in axes.get("draw", ()))
    recipes, faults = [], Faults()
    for values in itertools.product(*(axes[n] for n in names)):
        settings = dict(zip(names, values))
        if AUTO in axes.get("prune_ratio", ()) and settings["prune_ratio"] != AUTO:
            settings = {n: v for n, v in settings.items() if n not in AUTO_SETTINGS}
        if is_assumed and settings["draw"] not in ("early-bird", "best-accuracy"):
            settings.pop("ticket_epoch", None)
        method = settings.get("method", Recipe.method)
        with faults.gathered():
            own = {n: v for n, v in settings.items() if reads(method, n) or not _is_read(n, methods)}
            recipes.append(make_recipe(own))
            in_vain = list(foreign_settings(recipes[-1], named=[name for name in own if name in typed]))
            if in_vain:
                raise ConfigError(*in_vain)
    faults.refuse()
    return list(dict.fromkeys(recipes))

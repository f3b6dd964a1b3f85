"""The manifest of a run: all that is needed to interpret its data, written before there are any."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from ebbench.config import Bench, Recipe
from ebbench.environment import describe, package_version
from ebbench.errors import ConfigError, UserError
from ebbench.protocols import Board
from ebbench.rundir import RunDir


def new_manifest(
    run_id: str, recipe: Optional[Recipe], bench: Bench, board: Optional[Board], **more: Any
) -> Dict[str, Any]:
    """That of a run whose meters are not open yet; `recipe` None: a program of somebody's own is measured."""
    return {
        "ebbench": package_version("ebbench"),
        "run_id": run_id,
        "recipe": None if recipe is None else recipe.settings(),
        "bench": bench.settings(),
        "board": {"name": board.name, "title": board.title} if board else {"name": "unknown"},
        **more,
        "environment": describe(),
        "meters": [],
    }


def refuse_other_run(rundir: RunDir, old: Dict[str, Any], new: Dict[str, Any]) -> None:
    """Raise UserError with what differs; a setting that an older version did not know was at its default."""
    defaults = Recipe(method=new["recipe"]["method"]).settings()
    before = {**defaults, **(old.get("recipe") or {})}
    differing = [name for name, value in new["recipe"].items() if before.get(name) != value]
    differing += ["device"] if old.get("device") != new["device"] else []
    if differing:
        raise UserError(f"{rundir.path} cannot be resumed with another {', '.join(differing)}; choose another --out")


def refuse_other_rails(rundir: RunDir, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError where a resumed run would not be measured on the rails it was; both as the manifest has its meters."""
    if before and _rails(before) != _rails(now):
        raise ConfigError(
            f"{rundir.path} cannot be resumed: it was measured with {_rails(before)}, now there is {_rails(now)}; see --meter"
        )


def _rails(meters: Sequence[Mapping[str, Any]]) -> List[Any]:
    return [(meter["name"], [rail["name"] for rail in meter["rails"]]) for meter in meters]

"""Finds meters, boards, pipelines, experiments and reports by entry point; built-in ones come through the same door."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict

from ebbench.errors import ConfigError, nearest
from ebbench.protocols import Board

METERS = "ebbench.meters"
BOARDS = "ebbench.boards"
PIPELINES = "ebbench.pipelines"
EXPERIMENTS = "ebbench.experiments"
REPORTS = "ebbench.reports"


def registered(group: str) -> Dict[str, str]:
    """The object paths (``package.module:name``) registered in `group`, by name."""
    if sys.version_info >= (3, 10):
        points = list(metadata.entry_points(group=group))
    else:  # Python 3.8 and 3.9 return a plain dict of lists
        points = list(metadata.entry_points().get(group, []))
    return {point.name: point.value for point in points}


def load(group: str, name: str) -> Any:
    """The object registered as `name`; the nearest known name is offered when there is none."""
    known = registered(group)
    if name not in known:
        raise ConfigError(f"unknown {group.rpartition('.')[2][:-1]} {name!r}; {nearest(name, known)}")
    return resolve(known[name])


def resolve(path: str) -> Any:
    """Import the object at ``package.module:name``, or the module at ``package.module``."""
    module, _, name = path.partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, name) if name else loaded


def boards() -> Dict[str, Board]:
    """All known boards by name, those from outside included."""
    found: Dict[str, Board] = {}
    for path in registered(BOARDS).values():
        found.update({board.name: board for board in resolve(path)()})
    return found


def experiments() -> Dict[str, Path]:
    """The TOML files of all registered experiment packages, by name."""
    found: Dict[str, Path] = {}
    for path in registered(EXPERIMENTS).values():
        folder = Path(resolve(path).__file__).parent
        found.update({file.stem: file for file in sorted(folder.glob("*.toml"))})
    return found

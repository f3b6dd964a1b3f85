"""The laboratory's boards."""

from __future__ import annotations

from typing import List

from ebbench.protocols import Board


def boards() -> List[Board]:
    """Our carrier board: all that it draws flows through INPUT, which the supply measures."""
    rails = [{"name": "INPUT", "scope": "devkit"}]
    facts = {"name": "example-carrier", "compatible": ["example-lab,carrier"], "scope": "devkit", "total": ["INPUT"]}
    return [Board("example-carrier", "Example carrier board", {**facts, "rails": rails})]

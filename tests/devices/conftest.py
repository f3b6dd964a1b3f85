from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fake_board(tmp_path, monkeypatch):
    """Build a board below a folder that stands for ``/`` in this test."""
    from fake_boards import FakeBoard

    def build(kind: str) -> FakeBoard:
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
        return FakeBoard(tmp_path, kind)

    return build

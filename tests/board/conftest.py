from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
CONF = "".join(f"< POWER_MODEL ID={i} NAME={n} >\n" for i, n in enumerate(("MAXN", "MODE_15W", "MODE_30W", "MODE_50W")))


@pytest.fixture
def jetson(tmp_path, monkeypatch):
    """A Jetson's programs in front of the PATH, its files below a folder, and a home for what is to be put back."""
    from fake_programs import FakePrograms

    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/nvpmodel.conf").write_text(CONF)
    programs = FakePrograms(tmp_path)
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(root))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", programs.path)
    return programs


@pytest.fixture
def no_root(monkeypatch):
    """Whoever runs the test, the code takes itself for a user."""
    import os

    monkeypatch.setattr(os, "geteuid", lambda: 12345)

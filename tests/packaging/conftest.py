"""The wheel that is tested: the one that EBBENCH_WHEEL names, or one built from the checkout without the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The source tree these tests lie in; tests that need it are skipped where the tests were copied away from it."""
    if not (ROOT / "ebbench" / "__init__.py").exists():
        pytest.skip("these tests were copied away from the sources")
    return ROOT


@pytest.fixture(scope="session")
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given: Optional[str] = os.environ.get("EBBENCH_WHEEL")
    if given:
        return Path(given)
    checkout = request.getfixturevalue("checkout")
    pytest.importorskip("hatchling", reason="without EBBENCH_WHEEL, hatchling is needed to build one")
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=checkout,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built

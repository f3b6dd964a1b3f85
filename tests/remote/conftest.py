"""The ssh between laptop and board, and a place for both."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from laptop_and_board import Place
from sshd import Sshd

from ebbench.remote import session


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """A real sshd, which the name `board` leads to."""
    with pytest.MonkeyPatch.context() as patch, Sshd(tmp_path_factory.mktemp("sshd")) as found:
        patch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(session, "LOOK_EVERY_S", 0.2)
        yield found


@pytest.fixture()
def place(tmp_path):
    """A laptop and a board of this test's own."""
    return Place(tmp_path)

"""The language floor: everything that is shipped is Python 3.8, said by a Python 3.8 where this machine has one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

COMPILE = """
import sys
from pathlib import Path
files = sorted(path for folder in sys.argv[1:] for path in Path(folder).rglob("*.py"))
for path in files:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")
print(len(files))
"""


def find_python_3_8() -> Optional[str]:
    candidates = [sys.executable, shutil.which("python3.8"), *Path.home().glob(".pyenv/versions/3.8*/bin/python")]
    for candidate in filter(None, candidates):
        said = subprocess.run([str(candidate), "--version"], capture_output=True, text=True)
        if said.stdout.startswith("Python 3.8."):
            return str(candidate)
    return None


def test_every_file_is_python_3_8(checkout):
    python = find_python_3_8()
    if python is None:
        pytest.skip("no Python 3.8 on this machine")
    folders = [str(checkout / name) for name in ("ebbench", "devices", "baselines", "reports", "tests")]
    done = subprocess.run([python, "-c", COMPILE, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_every_file_postpones_its_annotations(checkout):
    """Without it, ``X | None`` and ``list[int]`` in a signature fail on Python 3.8, and only when the file is imported."""
    for folder in ("ebbench", "devices", "baselines", "reports"):
        for path in (checkout / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "def " not in text or "from __future__ import annotations" in text, path

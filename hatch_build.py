"""Compiles sweeps.c when the package is built or installed, where there is a C compiler; without one, Python reads the files."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("ebbench/energy/sampler_process/sweeps.c")
LIBRARY = SOURCE.with_name("_sweeps.so")  # as sweeps.py looks for it; loaded by ctypes, so any Python will do
FLAGS = ["-O2", "-shared", "-fPIC", "-s", "-Wl,--build-id=none"]


def compile_sweeps(root: Path) -> bool:
    """Whether there is a library now. It replaces an older one in one step, for that may be in use."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or not compiler or shutil.which(compiler[0]) is None:
        return False
    new = root / LIBRARY.with_name(f"{LIBRARY.name}.{os.getpid()}.tmp")
    made = subprocess.run([*compiler, *FLAGS, "-o", str(new), SOURCE.name], cwd=(root / SOURCE).parent, check=False)
    if made.returncode == 0:
        new.replace(root / LIBRARY)
    return made.returncode == 0


class CompiledSweeps(BuildHookInterface):
    """Adds the library to the wheel, which then is one for this kind of machine."""

    def initialize(self, version: str, build_data: Dict[str, Any]) -> None:
        """Before the wheel is written; `version` is "editable" where the checkout itself is installed."""
        root = Path(self.root)
        if not compile_sweeps(root):
            (root / LIBRARY).unlink(missing_ok=True)  # of another source, or another machine
        elif version != "editable":
            build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

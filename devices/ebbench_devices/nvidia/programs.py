"""Runs the vendor's programs that look at or change a board: no shell, stdin closed, and root only through ``sudo -n``."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Optional

from ebbench.errors import DeviceError

#: where a user's PATH may not lead
SYSTEM_FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE_S = 60.0


def find(name: str) -> Optional[str]:
    """The program's full path; None where there is none."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_FOLDERS)


def run(name: str, *arguments: str, as_root: bool = False) -> str:
    """What the program printed, both streams. Raises DeviceError in one line where it is not there, not allowed, or fails."""
    program = find(name)
    if program is None:
        raise DeviceError(f"there is no {name} on this machine")
    prefix, called = _prefix(name) if as_root else [], " ".join([name, *arguments])
    try:
        done = subprocess.run(
            [*prefix, program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{called}: {error}") from error
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0 and prefix and said.lstrip().startswith("sudo:"):
        raise DeviceError(
            f"{name} needs root, and sudo gives none without a password ({last_line(said)}); "
            f"allow it with `sudo visudo -f /etc/sudoers.d/ebbench`: {_user()} ALL=(root) NOPASSWD: {program}"
        )
    if done.returncode != 0:
        raise DeviceError(f"{called} failed (exit code {done.returncode}): {last_line(said)}")
    return said


def last_line(said: str) -> str:
    """The last line of what a program printed, in signs that can be printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "".join(sign if sign.isprintable() else "?" for sign in (lines[-1] if lines else "it printed nothing"))[:200]


def _prefix(name: str) -> list:
    if os.geteuid() == 0:
        return []
    sudo = find("sudo")
    if sudo is None:
        raise DeviceError(f"{name} needs root, and there is no sudo; run as root")
    return [sudo, "-n", "--"]


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"#{os.geteuid()}"

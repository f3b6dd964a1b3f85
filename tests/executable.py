"""A program that a test writes and then runs."""

from __future__ import annotations

import subprocess


def write_executable(path, text):
    """Write `text` to `path`, to be run. Another process writes it: were it ours, a thread of ours that forks meanwhile would hold
    the file open for writing, and it could not be run ("Text file busy")."""
    subprocess.run(["install", "-m", "755", "/dev/stdin", str(path)], input=text, text=True, check=True)

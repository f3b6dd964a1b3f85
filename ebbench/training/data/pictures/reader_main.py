"""A process that reads pictures for the one that started it. It loads numpy and Pillow, never torch, and never sees a GPU.

One line of JSON asks, one answers. It ends when its stdin does, so also when its parent is killed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
from typing import Any, Dict, List, Mapping

import numpy as np

from ebbench.training.data.pictures.views import Unreadable, evaluation_view, look_at, training_view


def main(spec: Mapping[str, Any]) -> None:
    """Answer until nobody asks any more; ``fd`` of `spec` is the shared memory, ``bytes`` its size (0: there is none)."""
    memory = np.frombuffer(mmap.mmap(spec["fd"], spec["bytes"]), np.uint8) if spec["bytes"] else np.empty(0, np.uint8)
    requests = os.fdopen(0, "rb", closefd=False)
    while True:
        line = requests.readline()
        if not line.endswith(b"\n"):
            return
        try:
            sys.stdout.buffer.write(json.dumps(answer(json.loads(line), memory)).encode() + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody is left to hear more, not even at exit


def answer(request: Mapping[str, Any], memory: np.ndarray) -> Dict[str, Any]:
    """``{"look": [path, ...]}`` gives what each file is; ``{"view": [[number, path], ...], ...}`` writes into `memory`."""
    try:
        if "look" in request:
            return {"looked": [look(path) for path in request["look"]]}
        view(request, memory)
    except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked must hear of it
        return {"failed": str(error) or type(error).__name__}
    return {}


def look(path: str) -> List[Any]:
    """[digest of the file (16 hex digits), in what it differs from plain RGB, why it cannot be taken (None: it can)]."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        return ["", [], f"it cannot be read: {error.strerror}"]
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    try:
        return [digest, look_at(content), None]
    except Unreadable as error:
        return [digest, [], str(error)]


def view(request: Mapping[str, Any], memory: np.ndarray) -> None:
    """Write the squares of these pictures one after the other, from square ``first`` on: random ones where there is a ``key``."""
    side, key = request["side"], bytes.fromhex(request["key"] or "")
    squares = memory[: len(memory) // (side * side * 3) * side * side * 3].reshape(-1, side, side, 3)
    for place, (number, path) in enumerate(request["view"], start=request["first"]):
        try:
            with open(path, "rb") as file:
                content = file.read()
            squares[place] = training_view(content, side, key, number) if key else evaluation_view(content, side)
        except Exception as error:
            raise OSError(f"{path}: {error}") from error

"""What a piece of code does to the rest of the world while it runs: contacts, files, programs."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from typing import Any, FrozenSet, Iterator, List, Optional, Tuple

#: what the open block has done so far; None where nobody looks
_seen: Optional[List[str]] = None
#: threads that were there before, whose deeds are not the block's
_others: FrozenSet[Optional[int]] = frozenset()
_is_hooked = False


@contextlib.contextmanager
def watched() -> Iterator[List[str]]:
    """The list of what the block does, filled while it runs: addresses contacted, files written, programs started.

    Seen is what Python itself does, by its audit events (PEP 578), here or in threads that the block starts; not what a library
    does in C. Python keeps no compiled modules meanwhile: that would be its own deed, not the block's.
    """
    global _seen, _others, _is_hooked
    if not _is_hooked:  # a hook can never be taken away again
        sys.addaudithook(_hook)
        _is_hooked = True
    _others = frozenset(thread.ident for thread in threading.enumerate()) - {threading.get_ident()}
    _seen, keeps_none, sys.dont_write_bytecode = [], sys.dont_write_bytecode, True
    try:
        yield _seen
    finally:
        _seen, sys.dont_write_bytecode = None, keeps_none


def _hook(event: str, arguments: Tuple[Any, ...]) -> None:
    if _seen is None or threading.get_ident() in _others:
        return
    seen = _deed(event, arguments)
    if seen is not None:
        _seen.append(seen)


def _deed(event: str, arguments: Tuple[Any, ...]) -> Optional[str]:
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        here = arguments[0].family == socket.AF_UNIX  # a service of this machine
        return None if here else f"contacts {arguments[1]!r}"
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        return f"asks for the address of {arguments[0]!r}"
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"):
        return f"starts {arguments[0]!r}"
    if event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod"):
        return f"{event.partition('.')[2]}s {arguments[0]!r}"
    if event == "open" and _is_writing(*arguments):
        return f"writes {arguments[0]!r}"
    return None


def _is_writing(path: Any, mode: Optional[str], flags: int) -> bool:
    """Whether a file is opened to be changed."""
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or any(c in (mode or "") for c in "wax+")
    return writes and str(path) != os.devnull

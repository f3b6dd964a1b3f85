"""One look at every file of a folder before anything is trained: which can be decoded to the end, and what their bytes are.

What was found is kept in the user's cache for as long as no file's size or time changes, so that the next run need not look.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

import PIL

from ebbench.errors import DiskError, UserError
from ebbench.rundir import read_json, write_json
from ebbench.training.data.pictures.folder import File
from ebbench.training.data.pictures.readers import Readers

#: files to a request
CHUNK = 32
#: seconds between two words about how far it is
SAY_EVERY_S = 30.0


@dataclass(frozen=True)
class Survey:
    """`digests`: 16 hex digits of each file's content; `faults`: number of the file and why it cannot be taken; `kinds`: how many
    differ from upright RGB, by how."""

    digests: List[str]
    faults: Dict[int, str]
    kinds: Dict[str, int]


def survey(root: Path, files: Sequence[File], readers: Readers) -> Survey:
    """Look at these files under `root`, or remember."""
    kept = _cache() / f"{_key(root, files)}.json"
    with contextlib.suppress(UserError, KeyError, TypeError, AttributeError):  # no such file, or damaged: look again
        return _unpacked(read_json(kept), len(files))
    found = _look(root, files, readers)
    with contextlib.suppress(OSError, DiskError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        faults = {str(number): reason for number, reason in found.faults.items()}
        write_json(kept, {"digests": "".join(found.digests), "faults": faults, "kinds": found.kinds})
    return found


def _look(root: Path, files: Sequence[File], readers: Readers) -> Survey:
    digests: List[str] = []
    faults: Dict[int, str] = {}
    kinds: Dict[str, int] = {}
    chunks = (files[start : start + CHUNK] for start in range(0, len(files), CHUNK))
    requests = ({"look": [str(root / file.name) for file in chunk]} for chunk in chunks)
    for reply in _spoken(readers.answers(requests), root, len(files)):
        for digest, differs, fault in reply["looked"]:
            if fault is not None:
                faults[len(digests)] = fault
            for kind in differs:
                kinds[kind] = kinds.get(kind, 0) + 1
            digests.append(digest or "0" * 16)
    return Survey(digests, faults, kinds)


def _spoken(replies: Iterator[Dict[str, list]], root: Path, total: int) -> Iterator[Dict[str, list]]:
    """Pass the replies on, and say on stderr now and then how long it will take."""
    start_s = said_s = time.monotonic()
    done = 0
    for reply in replies:
        yield reply
        done += len(reply["looked"])
        if time.monotonic() - said_s >= SAY_EVERY_S:
            said_s = time.monotonic()
            left_s = (said_s - start_s) * (total - done) / done
            print(
                f"looking once at the images in {root}: {done} of {total}, {left_s / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )


def _unpacked(document: Dict[str, object], count: int) -> Survey:
    text, faults, kinds = document["digests"], document["faults"], document["kinds"]
    if len(text) != 16 * count:
        raise KeyError("digests")
    digests = [text[start : start + 16] for start in range(0, len(text), 16)]
    return Survey(digests, {int(number): reason for number, reason in faults.items()}, dict(kinds))


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "ebbench" / "images"


def _key(root: Path, files: Sequence[File]) -> str:
    """Another one when a file is added, removed, renamed or changed, or Pillow may read other files than before."""
    digest = hashlib.sha256(f"{PIL.__version__}\n".encode() + os.fsencode(root.absolute()))
    for file in files:
        digest.update(os.fsencode(f"\n{file.name}/{file.size}/{file.changed_ns}"))
    return digest.hexdigest()[:32]

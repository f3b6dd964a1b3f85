"""On the laptop: the board's run folder, file by file; a file that came whole once is not fetched again."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict

from ebbench.errors import DeviceError, DiskError
from ebbench.remote.board import RemoteBoard
from ebbench.room import Room
from ebbench.rundir import MANIFEST, TAKEN, RunDir, sha256_of

#: a file that changes while it is read (none should) is read so often
_TRIES = 3


def fetch(board: RemoteBoard, where: Dict[str, Any], here: RunDir, progress: Callable[[float], None]) -> None:
    """Bring the files of the job `where` {"out", "job"} into `here`, each checked against its sum there.

    The board's records stay there, for the run is sealed here; its manifest, and what it says that it took, get names of their
    own. Raises DeviceError where a file does not come as it is there.
    """
    there = board.ask("files", **where)["files"]
    wanted = {each["path"]: each for each in there if not PurePosixPath(each["path"]).name.startswith("record")}
    total, done = sum(int(each["bytes"]) for each in wanted.values()), 0
    lacking = [each for name, each in wanted.items() if not _has(_place(here, name), each)]
    missing = {f"what {board.on} has": sum(int(each["bytes"]) for each in lacking)}
    Room(here).check_before(missing, "make room, then go on with --resume")
    for name, each in wanted.items():
        path = _place(here, name)
        if not (_has(path, each) and sha256_of(path) == each["sha256"]):
            _fetch_one(board, where, each, path)
        done += int(each["bytes"])
        progress(done / total if total else 1.0)


def _place(here: RunDir, name: str) -> Path:
    """Where a file of the board belongs; a name that leads out of the run folder is refused."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or any(p in ("..", ".") or p.startswith(".") for p in parts):
        raise DeviceError(f"the board names a file {name!r}, which is none of a run folder")
    own = {MANIFEST: here.board_manifest, TAKEN: here.board_taken}
    return own.get(name, here.path.joinpath(*parts))


def _has(path: Path, each: Dict[str, Any]) -> bool:
    """Whether there is a file here of the size of the board's."""
    return path.is_file() and path.stat().st_size == int(each["bytes"])


def _fetch_one(board: RemoteBoard, where: Dict[str, Any], each: Dict[str, Any], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.fetched.tmp")
    for _ in range(_TRIES):
        digest = hashlib.sha256()
        try:
            path.parent.mkdir(exist_ok=True)
            with open(temporary, "wb") as handle:
                while handle.tell() < each["bytes"]:
                    answer = board.ask("read", path=each["path"], at=handle.tell(), **where)
                    piece = base64.b64decode(answer["content"])
                    if not piece:
                        break
                    digest.update(piece)
                    handle.write(piece)
            if digest.hexdigest() == each["sha256"]:
                temporary.replace(path)
                return
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}; make room, then go on with --resume") from error
        finally:
            temporary.unlink(missing_ok=True)
    raise DeviceError(
        f"{board.on}: {each['path']} does not come as it is there; is something writing it? go on with --resume"
    )

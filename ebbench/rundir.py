"""The names of the files in a run folder, and who may write there. The only module that knows them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from pathlib import Path
from typing import IO, Any, Dict, List, NoReturn, Optional

from ebbench.errors import UserError, not_written
from ebbench.whole_file import write_whole

MANIFEST = "manifest.json"
PHASES = "phases.jsonl"
LAPTOP_PHASES = "phases-laptop.jsonl"
MASKS = "masks.npz"
RECORD = "record.json"
BOARD_MANIFEST = "manifest-board.json"
LOG = "log.txt"
BOARD = "board.jsonl"
CHECKPOINT = "checkpoint/state.npz"
TAKEN = "taken.json"
BOARD_TAKEN = "taken-board.json"
OFFERED = "offered.json"
KEPT = "kept"
EXPORT = "export"
LOCK = ".lock"


class RunDir:
    """One run's folder: ``manifest.json`` before anything, ``record.json`` last, the raw files between."""

    def __init__(self, path: os.PathLike) -> None:
        self.path = Path(path)

    manifest = property(lambda self: self.path / MANIFEST)
    board_manifest = property(lambda self: self.path / BOARD_MANIFEST)
    phases = property(lambda self: self.path / PHASES)
    masks = property(lambda self: self.path / MASKS)
    record = property(lambda self: self.path / RECORD)
    log = property(lambda self: self.path / LOG)
    board = property(lambda self: self.path / BOARD)
    checkpoint = property(lambda self: self.path / CHECKPOINT)
    #: what was taken from another run and is charged here, and the folder of what others take from this one
    taken = property(lambda self: self.path / TAKEN)
    kept = property(lambda self: self.path / KEPT)
    #: of a run on a board, what it might take, with what that is charged, and what of it was taken there
    offered = property(lambda self: self.path / OFFERED)
    board_taken = property(lambda self: self.path / BOARD_TAKEN)

    def trace(self, meter: str, number: int) -> Path:
        """The trace of one start of the sampler: ``trace-<meter>-<NNN>.arrows``."""
        return self.path / f"trace-{meter}-{number:03d}.arrows"

    def traces(self, meter: Optional[str] = None) -> List[Path]:
        """All traces (of one meter), in the order of their starts."""
        name = re.escape(meter) if meter else ".+"
        pattern = re.compile(rf"trace-({name})-(\d{{3,}})\.arrows")
        found = [
            (m.group(1), int(m.group(2)), p)
            for p in self.path.glob("trace-*.arrows")
            if (m := pattern.fullmatch(p.name))
        ]
        return [p for _, _, p in sorted(found)]

    def next_trace(self, meter: str) -> Path:
        """The first trace name of `meter` that is not taken."""
        taken = self.traces(meter)
        return self.trace(meter, 1 + (int(taken[-1].stem.rsplit("-", 1)[1]) if taken else -1))

    def next_record(self) -> Path:
        """``record-2.json`` and so on: beside ``record.json``, which is written by the run's own end alone."""
        number = 2
        while (self.path / f"record-{number}.json").exists():
            number += 1
        return self.path / f"record-{number}.json"

    @property
    def is_sealed(self) -> bool:
        """Whether the run ended: its record is written last."""
        return self.record.exists()

    def create(self) -> None:
        """Make the folder (parents too)."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(
                error, f"cannot make the run folder {self.path}: {error.strerror}; choose another with --out"
            ) from error

    def lock(self) -> IO[str]:
        """Hold the folder for this process until the returned file is closed (a flock: it dies with us).

        What a killed process left half written is removed: nobody else writes now.
        """
        try:
            handle = open(self.path / LOCK, "a+")  # noqa: SIM115 - the caller holds it for the whole run
        except OSError as error:
            raise not_written(
                error, f"cannot write in {self.path}: {error.strerror}; choose another folder with --out"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.close()
            raise UserError(
                f"another process is writing {self.path}; wait for it or choose another folder with --out"
            ) from error
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink()
        return handle

    def refuse_anew(self) -> NoReturn:
        """Raise UserError with why what is in this folder is not begun anew: it is being written, or did not end."""
        self.lock().close()
        raise UserError(f"{self.path} holds a run that did not end; go on with --resume, or choose another --out")


class LaptopDir(RunDir):
    """A run's folder for what a laptop records beside the board: its log lies beside the board's, its traces among the board's."""

    phases = property(lambda self: self.path / LAPTOP_PHASES)


def runs_in(path: Path) -> List[RunDir]:
    """The run in this folder, or else the runs in the folders within it; where there is none, a run that is not there."""
    is_run = not path.is_dir() or any((path / name).exists() for name in (MANIFEST, RECORD))
    within = [] if is_run else [RunDir(each) for each in sorted(path.iterdir()) if (each / MANIFEST).exists()]
    return within or [RunDir(path)]


def write_json(path: Path, document: Dict[str, Any]) -> None:
    """Replace `path` by `document`, whole or not at all; NaN and infinity are refused, missing is null."""
    text = json.dumps(document, indent=2, allow_nan=False, sort_keys=False) + "\n"
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, whole or not at all, on the disk before this returns."""
    write_whole(path, lambda file: file.write(content))


def read_json(path: Path) -> Dict[str, Any]:
    """Read one JSON document; say so in one line when it is not there or damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; is {path.parent} a run folder?") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds {type(document).__name__}, not a JSON object; is it damaged?")
    return document


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as it is now."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for piece in iter(lambda: handle.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()

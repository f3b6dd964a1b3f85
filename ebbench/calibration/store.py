"""Where calibrations are kept: one JSON file per board and meter, with the raw files it was made from in a folder beside it.

``$XDG_CONFIG_HOME/ebbench/calibration/<board>-<machine>-<meter>.json``. The machine is a hash of the board's serial number, or of
the system's machine-id: the number itself is in no file of ours. A meter with an address or options is another meter for every
one of them, by a hash of its URI.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench import plugins
from ebbench.energy.calibration import damage, misfit
from ebbench.environment import read_text
from ebbench.errors import DiskError, UserError
from ebbench.protocols import Board, MeterInfo, MeterRequest
from ebbench.rundir import read_json, write_json

_WAYS_OUT = "calibrate again, remove the file, or give --no-calibration"
_SERIALS = ("/proc/device-tree/serial-number", "/sys/firmware/devicetree/base/serial-number", "/etc/machine-id")


def folder() -> Path:
    """The folder of all calibrations of this user."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home) / "ebbench" / "calibration"


def machine() -> str:
    """Twelve digits that stand for this very machine; ``unknown`` where it has neither serial number nor machine-id."""
    serial = next(filter(None, map(read_text, _SERIALS)), None)
    return hashlib.sha256(f"ebbench calibration {serial}".encode()).hexdigest()[:12] if serial else "unknown"


def key(board: Optional[str], meter: str, address: Optional[str], options: Mapping[str, str]) -> str:
    """The name, without its ending, under which a meter of this machine is kept."""
    where = [address or "", *(f"{name}={value}" for name, value in sorted(options.items()))]
    tail = "-" + hashlib.sha256("\n".join(where).encode()).hexdigest()[:8] if address or options else ""
    return "-".join((_plain(board or "unknown"), machine(), _plain(meter))) + tail


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).lstrip(".") or "_"


def load(name: str) -> Optional[Dict[str, Any]]:
    """The calibration kept under `name`; None where there is none. Raises UserError for a file that is damaged."""
    path = folder() / f"{name}.json"
    if not path.exists():
        return None
    try:
        document = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {_WAYS_OUT}") from error
    fault = damage(document)
    if fault is not None:
        raise UserError(f"{path} is damaged: {fault}; {_WAYS_OUT}")
    return document


def check(board: Optional[Board], meters: Sequence[Tuple[str, str, MeterRequest]]) -> None:
    """Raise UserError for a damaged calibration of one of these meters, before any of them is opened."""
    names = {path: name for name, path in plugins.registered(plugins.METERS).items()}
    for called, path, request in meters:
        load(key(board.name if board else None, names.get(path, called), request.address, request.options))


def save(name: str, document: Dict[str, Any], raw: Path) -> Path:
    """Keep a calibration in the place of an older one, whole or not at all, and the folder `raw` beside it; where it is."""
    home = folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        evidence = home / f"{name}.raw"
        fresh = home / f".{name}.{os.getpid()}.raw"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(raw, fresh)
        shutil.rmtree(evidence, ignore_errors=True)
        os.replace(fresh, evidence)
    except OSError as error:
        raise DiskError(f"cannot keep the calibration in {home}: {error.strerror}; set XDG_CONFIG_HOME") from error
    path = home / f"{name}.json"
    write_json(path, document)
    return path


def find(board: Optional[Board], info: MeterInfo, request: MeterRequest) -> Optional[Dict[str, Any]]:
    """The calibration of this meter on this machine; None where there is none."""
    return load(key(board.name if board else None, info.name, request.address, request.options))


def add_to(
    entries: Sequence[Dict[str, Any]], infos: Sequence[MeterInfo], meters: Sequence[Tuple[str, str, MeterRequest]],
    board: Optional[Board], use: bool,
) -> None:  # fmt: skip
    """Add to what the manifest says of each opened meter its calibration, or why it has none."""
    for entry, info, (_, _, request) in zip(entries, infos, meters):
        entry["calibration"] = _stated(info, request, board, use)


def _stated(info: MeterInfo, request: MeterRequest, board: Optional[Board], use: bool) -> Dict[str, Any]:
    if not use:
        return {"applied": False, "reason": "left out on request"}
    document = find(board, info, request)
    if document is None:
        return {"applied": False, "reason": "this meter was not calibrated on this machine"}
    reason = misfit(info, document)
    return {"applied": True, **document} if reason is None else {"applied": False, "reason": reason}


def hashes(raw: Path) -> Dict[str, str]:
    """SHA-256 of the files that a calibration was made from."""
    files: List[Path] = sorted(p for p in raw.iterdir() if p.is_file() and not p.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

"""What a pipeline may say while it trains, turned into stamped events, checkpoints and progress."""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.recording import Recording
from ebbench.errors import UserError
from ebbench.protocols import Lending
from ebbench.records import PHASE_NAMES, TRAINING_PHASES
from ebbench.room import Room
from ebbench.rundir import RunDir
from ebbench.training.pruning.mask_file import save_masks
from ebbench.units import NS_PER_S
from ebbench.whole_file import write_whole

_NUMBERED = re.compile(r"(epoch|block|trial)-\d+")
_LOOK_EVERY_NS = NS_PER_S // 4  # how often the display and the samplers' health are looked at


class Display(Protocol):
    """Shows how a run goes. The command line draws bars; tests and libraries show nothing."""

    def update(self, path: str, fraction: float, live: Mapping[str, Any]) -> None:
        """The innermost open phase, the fraction of the work done, and the reference meter's live state."""
        ...

    def say(self, text: str) -> None:
        """One line for the user."""
        ...


class Silent:
    """A display that shows nothing."""

    def update(self, path: str, fraction: float, live: Mapping[str, Any]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class SessionContext:
    """The `RunContext` of a conducted run: phases and events go to the log, checkpoints to the run folder."""

    def __init__(
        self,
        rundir: RunDir,
        recording: Recording,
        *,
        device: str,
        checkpoint_s: float,
        display: Display,
        lending: Optional[Lending] = None,
        clock: Clock = monotonic_ns,
    ) -> None:
        self.device = device
        self.lending = lending
        self._rundir = rundir
        self._recording = recording
        self._room = Room(rundir)
        self._checkpoint_ns = int(checkpoint_s * NS_PER_S)
        self._display = display
        self._clock = clock
        self._open: List[str] = []
        self._last_checkpoint_ns = clock()
        self._last_look_ns = 0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase inside the one that is open; closed and marked failed when its body raises."""
        if name not in PHASE_NAMES and not _NUMBERED.fullmatch(name):
            raise ValueError(f"phase {name!r} is not one of {', '.join(PHASE_NAMES)}, epoch-N, block-N, trial-N")
        self._open.append(name)
        log = self._recording.phases
        identity = log.begin("/".join(self._open))
        failed = True
        try:
            yield
            failed = False
        finally:
            log.end(identity, failed=failed)
            self._open.pop()

    def mark(self, name: str, **values: Any) -> None:
        """This happened, now."""
        self._recording.phases.mark(name, **values)

    def metric(self, name: str, value: float, **where: Any) -> None:
        """This value is now so."""
        self._recording.phases.metric(name, value, **where)

    def progress(self, done: float, total: float) -> None:
        """Show how far the work is, and look after the samplers; both at most four times a second."""
        now_ns = self._clock()
        if now_ns - self._last_look_ns < _LOOK_EVERY_NS:
            return
        self._last_look_ns = now_ns
        self._recording.check()
        fraction = done / total if total else 0.0
        if self._open and self._open[0] in TRAINING_PHASES:
            self._room.look(fraction)
        self._display.update("/".join(self._open), fraction, self._recording.live() or {})

    def checkpoint_due(self) -> bool:
        """Whether the recipe's `checkpoint_s` have passed since the last checkpoint."""
        return self._clock() - self._last_checkpoint_ns >= self._checkpoint_ns

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint in the phase ``checkpoint``; what is done after this moment would be done again."""
        taken = {"segment": self._recording.segment, "t_ns": self._clock()}
        with self.phase("checkpoint"):
            write_checkpoint(self._rundir.checkpoint, arrays, {"taken": taken, "pipeline": dict(state)})
        self._last_checkpoint_ns = self._clock()

    def load_checkpoint(self) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, Any]]]:
        """What the run's last `save_checkpoint` got; None in a run that starts."""
        found = read_checkpoint(self._rundir.checkpoint)
        return None if found is None else (found[0], found[1]["pipeline"])

    def save_masks(self, masks: np.ndarray, epochs: Sequence[int], gamma: np.ndarray) -> None:
        """Keep the drawn masks (bool [m, N]) and |gamma| of every epoch (float32 [e, N]) in ``masks.npz``."""
        save_masks(self._rundir.masks, masks, epochs, gamma)


def write_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """Write one .npz that holds the arrays and, as bytes, the state's JSON; replaced whole or not at all."""
    packed = {f"array/{name}": value for name, value in arrays.items()}
    packed["state"] = np.frombuffer(json.dumps(state, allow_nan=False).encode(), np.uint8)
    write_whole(
        path,
        lambda file: np.savez(file, **packed),
        make_folder=True,
        what="the checkpoint",
        advice="make room, then go on with --resume",
    )


def read_checkpoint(path: Path) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, Any]]]:
    """The arrays and the state of a checkpoint; None where there is none."""
    if not path.exists():
        return None
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            arrays = {name[len("array/") :]: stored[name] for name in stored.files if name.startswith("array/")}
            state: Dict[str, Any] = json.loads(stored["state"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"the checkpoint {path} is damaged ({error}); remove it to train from the start") from error
    return arrays, state

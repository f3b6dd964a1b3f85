"""On the laptop: conducts one run on the board.

The board trains and measures by itself, and needs nobody for it. This starts it, watches, measures beside it, brings its folder
back, and seals.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from ebbench.config import Bench, Recipe, load_bench, run_id
from ebbench.context import Display, Silent
from ebbench.energy.alignment.links import HOST, LAPTOP
from ebbench.environment import describe, package_version
from ebbench.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SHORT,
    ConfigError,
    DeviceError,
    DiskError,
    EbbenchError,
    UserError,
)
from ebbench.manifest import refuse_other_rails
from ebbench.meter_ref import refs_of
from ebbench.records import RunRecord
from ebbench.remote.agent import TOLD_BYTES
from ebbench.remote.bench import LaptopBench
from ebbench.remote.board import RemoteBoard, error_of
from ebbench.remote.fetch import fetch
from ebbench.remote.job import DIED, ENDED, NONE, RUNNING
from ebbench.remote.lending import offer, settle
from ebbench.remote.line import plain
from ebbench.remote.progress import Followed
from ebbench.room import Room, recorded_needs
from ebbench.rundir import LaptopDir, RunDir, read_json, write_json
from ebbench.sealing.record import load_record, seal
from ebbench.session import conduct
from ebbench.unbegun import forget, forgotten_unless_begun

#: how often the board is asked how it does (s); it costs the board a few milliseconds of one core
LOOK_EVERY_S = 2.0


@contextlib.contextmanager
def conductor(bench: Bench, display: Display, offered: Optional[Path] = None) -> Iterator[Callable[..., RunRecord]]:
    """`session.conduct`, or `conduct_on_board` over a connection that serves any number of runs, as the bench says.

    `offered`: on a board, what its laptop says of the trainings that the run shares with other jobs.
    """
    if bench.on is None:
        _refuse_board_settings(bench)
        yield functools.partial(conduct, offered=offered)
        return
    with contextlib.closing(RemoteBoard(bench.on, bench.on_command, display.say)) as board:
        yield functools.partial(conduct_on_board, board)


def _refuse_board_settings(bench: Bench) -> None:
    for name in ("on_command", "on_out", "board_meters"):
        if getattr(bench, name) != getattr(Bench, name):
            raise ConfigError(f"{name} is of a run on another machine; name that with --on USER@BOARD")


def conduct_on_board(
    board: RemoteBoard,
    recipe: Recipe,
    bench: Bench,
    out: Path,
    *,
    may_simulate: bool = False,
    resume: bool = False,
    display: Optional[Display] = None,
    among: Sequence[Recipe] = (),
) -> RunRecord:
    """Run `recipe` on `board` and return its record, sealed in ``out/<run id>`` on this machine.

    Like `session.conduct`, for a run that goes on there whatever happens here: with `resume` this reattaches to it, begins it again
    if it died, or just brings it back. What it shares with the other recipes `among` is decided here as there, and taken on the
    board from the folder of the lender's job (`ebbench.remote.lending`).
    Raises UserError or DeviceError with what the board says where it ended without a result.
    """
    display = display or Silent()
    rundir = RunDir(Path(out) / run_id(recipe, bench))
    if rundir.is_sealed:
        display.say(f"{rundir.path} is measured already and kept as it is")
        return load_record(rundir)
    if rundir.manifest.exists() and not resume:
        rundir.refuse_anew()
    laptop = LaptopBench(rundir, bench, board)
    _check_meters(board, laptop.names, bench, may_simulate)
    rundir.create()
    with contextlib.closing(rundir.lock()):
        job = _job_of(rundir, recipe, bench)
        run = _Run(board, {"out": bench.on_out, "job": job}, rundir, recipe, bench, laptop, display, among)
        with run.forgotten_unless_begun():
            run.attend(may_simulate)
        fetch(board, run.where, rundir, lambda done: display.update("bringing the run back", done, {}))
        _merge_manifests(rundir)
        settle(rundir)
        return seal(rundir)


def names_there(board: RemoteBoard, bench: Bench, may_simulate: bool) -> List[str]:
    """The names of the meters that a run would read on the board."""
    names: List[str] = board.ask("meters", bench=_set(bench.on_board().settings()), may_simulate=may_simulate)["meters"]
    return names


def _check_meters(board: RemoteBoard, names: List[str], bench: Bench, may_simulate: bool) -> None:
    """Refuse, before anything is started, meters that the board has not or that are at both ends."""
    there = names_there(board, bench, may_simulate)
    both = [name for name in names if name in there]
    if both:
        raise ConfigError(
            f"meter {both[0]!r} is on this machine and on {bench.on}; call one of them otherwise, as in {both[0]}?name=OTHER"
        )


def _job_of(rundir: RunDir, recipe: Recipe, bench: Bench) -> str:
    """The job's name on the board, which is this folder's alone; a resumed run keeps its own."""
    if rundir.manifest.exists():
        old = read_json(rundir.manifest)
        if old.get("recipe") != recipe.settings() or "job" not in (old.get("laptop") or {}):
            raise UserError(f"{rundir.path} cannot be resumed: it holds another run; choose another --out")
        return str(old["laptop"]["job"])
    name = run_id(recipe, bench)
    job = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in name)[:180]
    job = f"{job}-{uuid.uuid4().hex[:8]}"
    manifest: Dict[str, Any] = {
        "ebbench": package_version("ebbench"),
        "run_id": name,
        "recipe": recipe.settings(),
        "bench": bench.settings(),
        "laptop": {"job": job, "environment": describe()},
        "meters": [],
    }
    write_json(rundir.manifest, manifest)
    return job


def _experiment(recipe: Recipe, bench: Bench, may_simulate: bool) -> str:
    """The run as an experiment's TOML."""
    sections = {"experiment": {"may_simulate": may_simulate}, "recipe": recipe.settings(), "bench": bench.settings()}
    lines = []
    for name, settings in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in _set(settings).items())]
    return "\n".join(lines) + "\n"


def _set(settings: Dict[str, Any]) -> Dict[str, Any]:
    """Without what is left to its default: TOML has no null."""
    return {key: value for key, value in settings.items() if value is not None}


def _toml(value: Any) -> str:
    """A JSON value as TOML writes it: only tables, and one character, are written otherwise."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def _merge_manifests(rundir: RunDir) -> None:
    """The board's manifest with what this machine adds.

    The reference is this machine's where it has meters, unless a meter of the board, and none of this machine, is called that.
    """
    here, there = read_json(rundir.manifest), read_json(rundir.board_manifest)
    ours = [m for m in here["meters"] if m.get(HOST) == LAPTOP]
    names_reference = any(ref.is_reference for ref in refs_of(load_bench(_set(there["bench"]), {}, "the bench").meters))
    is_theirs = names_reference or not ours
    meters = [{**m, "reference": m["reference"] and not is_theirs} for m in ours]
    meters += [{**m, "reference": m["reference"] and is_theirs} for m in there["meters"]]
    kept = {key: here[key] for key in ("run_id", "bench", "laptop")}
    write_json(rundir.manifest, {**there, **kept, "meters": meters})


@dataclass
class _Run:
    """One run on the board, as it is seen from here; `where` says which job it is there."""

    board: RemoteBoard
    where: Dict[str, Any]
    rundir: RunDir
    recipe: Recipe
    bench: Bench
    laptop: LaptopBench
    display: Display
    among: Sequence[Recipe] = ()
    #: the process there while the run is going, as far as we know
    pid: Optional[int] = None
    #: whether it was seen to end
    has_ended: bool = False

    @contextlib.contextmanager
    def forgotten_unless_begun(self) -> Iterator[None]:
        """Leave no folder here and there where the run has ended there before its first phase: it is tried again like any other."""
        try:
            yield
        except EbbenchError:
            with contextlib.suppress(EbbenchError):  # what is left there is asked for again by the next try
                if self.has_ended and self.board.ask("forget", **self.where)["forgotten"]:
                    forget(self.rundir, LaptopDir(self.rundir.path).phases)
            raise

    def attend(self, may_simulate: bool) -> None:
        """Start the run unless it is going or done, and stay until it has ended with a record."""
        found = self.board.ask("state", **self.where)
        if found["state"] == ENDED and found["exit_code"] in (EXIT_OK, EXIT_SHORT):
            self.display.say(f"the run on {self.board.on} has ended; bringing it back")
            return
        status, reason = "aborted", None
        with self._forgotten(unless_there=found["state"] != NONE):
            self.laptop.open(self.display)
            self._check_room()
        self.board.meanwhile = self.laptop.check
        try:
            self._keep_infos()
            if found["state"] == RUNNING:
                self.display.say(f"reattached to the run on {self.board.on} (process {found['pid']})")
            else:
                experiment = _experiment(self.recipe, self._bench_there(), may_simulate)
                is_new, say = found["state"] == NONE, self.display.say
                lending = offer(self.recipe, self.bench, self.rundir, self.among, is_new, say)
                found = self.board.ask("start", experiment=experiment, again=not is_new, lending=lending, **self.where)
            self.pid = found["pid"]
            self._watch()
            status = "success"
        except BaseException as error:
            reason = str(error) if isinstance(error, EbbenchError) else type(error).__name__
            self._say_how_to_come_back()
            raise
        finally:
            self.board.meanwhile = lambda: None
            self.laptop.stop(status, reason)

    def _bench_there(self) -> Bench:
        """The board's bench; its signature is long enough for the meters here too, unless the user says otherwise."""
        there = self.bench.on_board()
        return replace(there, signature_least_s=max(there.signature_least_s, self.laptop.signature_s))

    def _check_room(self) -> None:
        """Refuse where the disk here has no room for the traces of this machine's meters."""
        try:
            Room(self.rundir).check_before(recorded_needs(self.laptop.bytes_per_s))
        except DiskError as error:
            self.laptop.stop("aborted", str(error))
            raise

    def _forgotten(self, unless_there: bool) -> contextlib.AbstractContextManager:
        """Leave no folder here where the laptop's meters cannot be opened, unless there is a run on the board."""
        if unless_there:
            return contextlib.nullcontext()
        return forgotten_unless_begun(self.rundir, LaptopDir(self.rundir.path).phases)

    def _watch(self) -> None:
        """Show what the board does until it has ended; what it says when it fails is raised here."""
        followed, last_line = Followed(self.recipe.epochs), ""
        at = {"log_at": 0, "phases_at": 0}
        while True:
            seen = self.board.ask("look", **at, **self.where)
            gained = sum(seen[key] - at[key] for key in at)
            at = {key: seen[key] for key in at}
            followed.read(seen["phases"])
            for line in filter(None, map(plain, seen["log"].splitlines())):
                last_line = line
                self.display.say(f"{self.board.on}: {line}")
            self.display.update(followed.path, followed.fraction, self.laptop.live())
            self.laptop.look()
            if seen["state"] == RUNNING and gained < TOLD_BYTES // 2:  # else there is more to be told
                time.sleep(LOOK_EVERY_S)
            elif seen["state"] != RUNNING and not gained:
                break
        self.pid, self.has_ended = None, True
        self._raise_its_error(seen, last_line)

    def _raise_its_error(self, seen: Dict[str, Any], last_line: str) -> None:
        if seen["state"] == DIED:
            raise DeviceError(
                f"the run on {self.board.on} died without a word (power cut? killed?); go on with --resume"
            )
        code = int(seen["exit_code"])
        if code == EXIT_INTERRUPTED or code < 0:
            how = "interrupted" if code == EXIT_INTERRUPTED else f"killed by signal {-code} (9: out of memory?)"
            raise DeviceError(f"the run on {self.board.on} was {how} there; go on with --resume")
        if code not in (EXIT_OK, EXIT_SHORT):
            said = last_line[len("ebbench: ") :] if last_line.startswith("ebbench: ") else last_line
            raise error_of(code, f"{self.board.on}: {said or f'the run ended with exit code {code}'}")

    def _keep_infos(self) -> None:
        """Write what the laptop's meters are into the manifest; a reattached run must have the same ones."""
        manifest = read_json(self.rundir.manifest)
        infos = self.laptop.described()
        refuse_other_rails(self.rundir, manifest["meters"], infos)
        write_json(self.rundir.manifest, {**manifest, "meters": infos})

    def _say_how_to_come_back(self) -> None:
        if self.pid is not None:
            self.display.say(
                f"the run goes on at {self.board.on}, without this machine's meters; reattach with the same command and --resume "
                f"(to stop it there: ssh {shlex.quote(self.board.on)} kill {self.pid})"
            )

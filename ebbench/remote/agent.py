"""On the board: answers the laptop's questions, one JSON object per line each way, until the connection ends.

It holds nothing: what it knows it reads from the job's folder at every question, so that any number of connections may come
and go. Every question may be asked again when its answer was lost.
"""

from __future__ import annotations

import base64
import json
import platform
from pathlib import Path, PurePosixPath
from typing import IO, Any, Callable, Dict, List, Mapping

from ebbench import plugins
from ebbench.clock import boot_id, monotonic_ns
from ebbench.config import load_bench
from ebbench.environment import package_version
from ebbench.errors import EXIT_BUG, EbbenchError, UserError
from ebbench.remote.job import Job
from ebbench.rundir import LOCK, PHASES, sha256_of

#: what the first answer begins with, so that whatever a login shell prints before it is passed over
GREETING = "ebbench-agent "
#: of a growing file at most so much is told at once, and of a file that is fetched so much
TOLD_BYTES, FETCHED_BYTES = 1 << 18, 1 << 20

Request = Mapping[str, Any]
Answer = Dict[str, Any]


def serve(questions: IO[str], answers: IO[str]) -> None:
    """Greet, then answer each line; an error is an answer too."""
    answers.write(GREETING + json.dumps(hello({})) + "\n")
    answers.flush()
    for line in questions:
        answers.write(json.dumps(_answered(line)) + "\n")
        answers.flush()


def _answered(line: str) -> Answer:
    try:
        request = json.loads(line)
        return _ANSWERS[request["ask"]](request)
    except EbbenchError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:  # noqa: BLE001 - the laptop gets a line, and the connection stays
        return {"error": f"{type(error).__name__}: {error}", "exit_code": EXIT_BUG}


def hello(_: Request) -> Answer:
    """Who is here."""
    return {"ebbench": package_version("ebbench"), "python": platform.python_version(), **clock({})}


def clock(_: Request) -> Answer:
    """What time it is here."""
    return {"boot_id": boot_id(), "monotonic_ns": monotonic_ns()}


def meters(request: Request) -> Answer:
    """The names of the meters that a run would read here, ``auto`` resolved."""
    bench = load_bench(request["bench"], {}, "the bench")
    board = plugins.choose_board(bench.board)
    if bench.is_unmetered:
        return {"meters": []}
    chosen = plugins.choose_meters(bench.meters, board, None, request["may_simulate"])
    return {"meters": [name for name, _, _ in chosen]}


def state(request: Request) -> Answer:
    """How the job is."""
    return _job(request).state()


def start(request: Request) -> Answer:
    """Start the job, unless it is going."""
    return _job(request).start(request["experiment"], request["again"], request["lending"])


def forget(request: Request) -> Answer:
    """Leave nothing of a job that ended before anything was measured; whether that is so."""
    return {"forgotten": _job(request).forget()}


def look(request: Request) -> Answer:
    """How the job is, and what its log and its phase log have gained since the given places, in whole lines."""
    job = _job(request)
    answer = job.state()  # before the files: what is said before the end is told with it
    rundir = job.rundir
    answer["log"], answer["log_at"] = _gained(job.log, request["log_at"])
    answer["phases"], answer["phases_at"] = _gained(rundir / PHASES if rundir else None, request["phases_at"])
    return answer


def _gained(path: Any, at: int) -> Any:
    """The whole lines from byte `at` on, and where the next begin."""
    try:
        with open(path or "", "rb") as handle:
            handle.seek(at)
            content = handle.read(TOLD_BYTES)
    except FileNotFoundError:
        return "", at
    whole = content[: content.rfind(b"\n") + 1]
    return whole.decode("utf-8", "replace"), at + len(whole)


def files(request: Request) -> Answer:
    """The files of the run, with their sizes and sums; none while it has made none."""
    rundir = _job(request).rundir
    found: List[Answer] = []
    for path in sorted(rundir.rglob("*")) if rundir else []:
        if path.is_file() and path.name != LOCK and not path.name.startswith("."):
            name = path.relative_to(rundir).as_posix()  # type: ignore[arg-type]
            found.append({"path": name, "bytes": path.stat().st_size, "sha256": sha256_of(path)})
    return {"files": found}


def read(request: Request) -> Answer:
    """A piece of one file of the run."""
    rundir, name = _job(request).rundir, PurePosixPath(request["path"])
    if rundir is None or name.is_absolute() or ".." in name.parts:
        raise UserError(f"the run has no file {request['path']!r}")
    with open(rundir / name, "rb") as handle:
        handle.seek(request["at"])
        return {"content": base64.b64encode(handle.read(FETCHED_BYTES)).decode()}


def _job(request: Request) -> Job:
    return Job(Path(request["out"]), request["job"])


_ANSWERS: Dict[str, Callable[[Request], Answer]] = {
    one.__name__: one for one in (hello, clock, meters, state, start, forget, look, files, read)
}

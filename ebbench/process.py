"""Starts a process of ours that does one thing beside the measured work: a sampler, the state log, the guardian.

By exec of the interpreter on a tiny module, never through `multiprocessing`: spawn would run the user's ``__main__`` again, so
that a script without a guard would die, and fork would carry torch, its threads and our locks along.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from typing import Any, List, Mapping, Sequence

#: `-I` keeps the working directory out of sys.path; then the parent's takes its place
_BOOT = (
    "import json, sys; spec = json.loads(open(0, 'rb', 0, closefd=False).readline()); sys.path[:] = spec['sys_path'];"
    " from {module} import main; main(spec)"
)
#: numpy would keep a buffer per core, Arrow an arena of its own; glibc would give a compressor's workspace back after each column
_SMALL = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "33554432",
}


def start_process(
    module: str, spec: Mapping[str, Any], *, stdout: int, stderr: Any, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Run ``main(spec)`` of `module` in a process whose stdin is a pipe from us; `spec` is sent as its first line.

    ``spec["parent"]`` is our process id. The process is in a session of its own: Ctrl-C at the terminal must not end it before it
    ignores it. Raises OSError where there is no interpreter to start.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOT.format(module=module)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **_SMALL},
        start_new_session=True,
        pass_fds=pass_fds,
    )
    assert process.stdin is not None
    line = json.dumps({**spec, "parent": os.getpid(), "sys_path": search_path()}).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):  # then it has died, which whoever waits for it finds
        process.stdin.write(line)
    return process


def is_heard(stream: Any, timeout_s: float) -> bool:
    """Whether there is something to read from `stream`, or its end, within so many seconds.

    By poll: `select.select` takes no descriptor above 1023, and a training that loads data with many processes has as many open.
    """
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def search_path() -> List[str]:
    """Where this process finds modules, the working directory last: what lies there must not shadow a library."""
    entries = [p for p in sys.path if isinstance(p, str)]
    return [p for p in entries if p] + ([os.getcwd()] if "" in entries else [])

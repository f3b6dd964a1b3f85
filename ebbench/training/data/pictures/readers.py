"""Processes that read pictures, and the memory that they and this process share.

Processes, since threads of ours would hold up the training's; never forked, since a fork after CUDA has begun is no good.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import tempfile
import weakref
from collections import deque
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, Deque, Dict, Iterable, Iterator, List, Mapping

import numpy as np

from ebbench.errors import DeviceError, DiskError
from ebbench.process import start_process

_READER = "ebbench.training.data.pictures.reader_main"
#: requests that a reader has before it while answers are waited for
QUEUED = 4


class Readers:
    """`count` processes, started when they are first needed; they end with this object or with this process.

    Each answers in the order in which it was asked: `ask` and `hear` go around all of them in the same way.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        #: uint8, shared with all of them
        self.memory = np.empty(0, np.uint8)
        self._processes: List[Popen[bytes]] = []
        self._asked = self._heard = 0

    @property
    def pids(self) -> List[int]:
        """Their process ids; empty before they are needed."""
        return [process.pid for process in self._processes]

    def share(self, size: int) -> np.ndarray:
        """At least that many bytes of shared memory; where there are fewer, the readers are started anew."""
        assert self._asked == self._heard, "one user at a time"
        if size > len(self.memory) or not self._processes:
            self.close()
            self._start(size)
        return self.memory

    def ask(self, request: Mapping[str, Any]) -> None:
        """Let the next reader do something."""
        process = self._processes[self._asked % self.count]
        self._asked += 1
        assert process.stdin is not None
        line = memoryview(json.dumps(request).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):  # then it has ended, which `hear` finds
            while line:
                line = line[process.stdin.write(line) :]

    def hear(self) -> Dict[str, Any]:
        """The answer to the oldest request that has none. Raises DiskError where a picture could not be read."""
        number = self._heard % self.count
        self._heard += 1
        stdout = self._processes[number].stdout
        assert stdout is not None
        line = stdout.readline()
        if not line.endswith(b"\n"):
            code = self._processes[number].wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise DeviceError(
                f"a process that reads images ended ({how}); is there enough memory? go on with --resume, or with fewer workers"
            )
        answer = json.loads(line)
        if "failed" in answer:
            raise DiskError(
                f"an image that could be read before cannot be read now: {answer['failed']}; put it back, then go on with --resume"
            )
        return answer

    def answers(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[Dict[str, Any]]:
        """The answer to each request, in order; what is asked ahead is bounded."""
        self.share(0)
        under_way: Deque[None] = deque()
        for request in requests:
            if len(under_way) == QUEUED * self.count:
                under_way.popleft()
                yield self.hear()
            self.ask(request)
            under_way.append(None)
        for _ in under_way:
            yield self.hear()

    def close(self) -> None:
        """End them; the next use starts new ones."""
        if self._processes:
            self._finalizer()
        self._processes, self.memory = [], np.empty(0, np.uint8)
        self._asked = self._heard = 0

    def _start(self, size: int) -> None:
        self._finalizer = weakref.finalize(self, _end, self._processes)
        try:
            with _unnamed_file(size) as file:
                spec = {"fd": file.fileno(), "bytes": size}
                for _ in range(self.count):
                    process = start_process(_READER, spec, stdout=PIPE, stderr=DEVNULL, pass_fds=(file.fileno(),))
                    process.stdout = io.BufferedReader(process.stdout)  # else a system call for every byte
                    self._processes.append(process)
                if size:
                    self.memory = np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)
        except OSError as error:
            raise DeviceError(f"cannot start the processes that read images: {error.strerror}") from error


def _unnamed_file(size: int) -> Any:
    """A file in memory that vanishes with its last user; a Python may be built without a way to make one that has no name."""
    create = getattr(os, "memfd_create", None)
    file = os.fdopen(create("ebbench images"), "r+b") if create else tempfile.TemporaryFile(dir="/dev/shm")  # noqa: SIM115
    os.ftruncate(file.fileno(), size)
    return file


def _end(processes: List[Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        for end in (process.stdin, process.stdout):
            if end is not None:
                end.close()

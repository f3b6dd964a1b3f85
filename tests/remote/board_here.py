"""A board in this process: the same questions and answers as JSON, the same job folder; ssh and the processes are left out."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from ebbench import cli
from ebbench.clock import monotonic_ns
from ebbench.remote import agent
from ebbench.remote.board import error_of
from ebbench.remote.job import Job
from ebbench.rundir import write_json


class BoardHere:
    """`RemoteBoard` without a line. What a test puts into `before`, by question, is called before the answer."""

    on = "board"

    def __init__(self):
        self.before = {}
        self.meanwhile = lambda: None

    def ask(self, question, **values):
        self.before.get(question, lambda: None)()
        answer = json.loads(json.dumps(agent._answered(json.dumps({"ask": question, **values}))))
        if "error" in answer:
            raise error_of(answer["exit_code"], f"board: {answer['error']}")
        return answer

    def trip(self):
        sent_ns = monotonic_ns()
        answer = self.ask("clock")
        return answer["boot_id"], (sent_ns, answer["monotonic_ns"], monotonic_ns())


class Died(BaseException):
    """Ends the run as a power cut does."""


class ProcessHere:
    """Stands for the process that a job starts: runs the job to its end, or to where it died without a word."""

    def __init__(self, command, **_):
        job = Job(Path(command[-2]), command[-1])
        job.exit.unlink(missing_ok=True)
        arguments = ["run", job.experiment, "--out", job.runs, "--resume", "--lending", job.lending]
        with contextlib.suppress(Died), open(job.log, "a") as log:
            with contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
                code = cli._run([str(each) for each in arguments])
            write_json(job.exit, {"exit_code": code})

    def poll(self):
        return 0

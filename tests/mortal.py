"""``ebbench`` in processes that are killed (SIGKILL) from within at a stated moment.

They are forked from one that has loaded torch, so that a start is quick: ``python mortal.py`` takes one task per line of stdin,
{"cwd", "arguments", "moment", "out", "err"}, and answers with the exit code, or minus the signal. See `conductor.Nursery`.

A moment: `after` (an event such as ``begin search/epoch-2``, ``mark ticket``, ``stop``, or ``replace masks.npz``: just before
that file gets its new content), `times` (the how manieth of them), `delay_s` (later than that), `power_cut` (the samplers are
killed in the same moment). Without `after` the delay counts from the start of the process.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


class Death:
    """Waits for its moment, which comes once, and leaves a note in ``death.json``.

    The note: {"pid", "t_ns", "samplers"}, the last two CLOCK_MONOTONIC and process ids.
    """

    def __init__(self, after=None, times=1, delay_s=0.0, power_cut=False):
        self.after, self.left, self.delay_s, self.power_cut = after, times, delay_s, power_cut

    def hear(self, what):
        """Something happens; if it is what is waited for, the end is near."""
        self.left -= what == self.after
        if what == self.after and self.left == 0:
            self.come()

    def come(self):
        if self.delay_s:
            threading.Thread(target=self.strike, daemon=True).start()
        else:
            self.strike()

    def strike(self):
        time.sleep(self.delay_s)
        with open("death.json", "w") as handle:
            children = [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
            death = {"pid": os.getpid(), "t_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC), "samplers": children}
            handle.write(json.dumps(death))
        for pid in children if self.power_cut else ():
            os.kill(pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def listen(death):
    """Let `death` hear every event of the phase log and every file that is replaced."""
    from ebbench.energy.phases import PhaseLog

    write, replace = PhaseLog._write, os.replace

    def heard_write(log, event):
        written = write(log, event)
        death.hear(f"{event['event']} {event.get('path', event.get('name', ''))}".strip())
        return written

    def heard_replace(source, target):
        death.hear(f"replace {Path(target).name}")
        replace(source, target)

    PhaseLog._write, os.replace = heard_write, heard_replace


def live(task):
    """Be `ebbench` with the task's arguments, until the end or the moment."""
    from ebbench.cli import main

    os.chdir(task["cwd"])
    out, err = (os.open(task[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("out", "err"))
    for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, err)):
        os.dup2(target, number)
    if task["moment"] is not None:
        death = Death(**task["moment"])
        listen(death)
        if death.after is None:
            death.come()
    main(task["arguments"])


def serve():
    """One process after the other, each a fork of this one."""
    import torch

    import ebbench.cli.display
    import ebbench.early_bird.search
    import ebbench.experiments.conduct
    import ebbench.session  # noqa: F401

    torch.optim.SGD(
        [torch.zeros(1)], lr=0.1
    )  # from torch 2 on the first optimiser loads the compiler, for more than a second
    gc.freeze()  # else each fork walks through all of torch, and so copies it

    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            live(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), flush=True)


if __name__ == "__main__":
    serve()

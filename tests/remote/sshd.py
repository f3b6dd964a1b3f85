"""A real sshd on 127.0.0.1 for one test session: own keys, own configuration, own port, and no service of the system."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
LogLevel ERROR
SetEnv {environment}
"""

CLIENT = """
Host board
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking yes
    LogLevel ERROR
Host stranger
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/no_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    LogLevel ERROR
Host nobody
    HostName 127.0.0.1
    Port {closed}
"""


class Sshd:
    """The board's sshd, and an ssh that knows it as ``board``: a wrapper, since the real one takes its files from the real home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for key in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        self.bin = folder / "bin"
        self.bin.mkdir()
        ssh = self.bin / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(folder / "client"))} "$@"\n')
        ssh.chmod(0o755)
        self._process = None

    def __enter__(self) -> Sshd:
        for _ in range(5):  # somebody else may take the port between
            self.port = free_port()
            if self._started():
                break
        else:
            raise RuntimeError((self.folder / "log").read_text())
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        client = CLIENT.format(port=self.port, closed=free_port(), user=getpass.getuser(), folder=self.folder)
        (self.folder / "client").write_text(client)
        return self

    def __exit__(self, *_) -> None:
        self.cut()
        self._process.terminate()
        self._process.wait()

    def cut(self) -> int:
        """End all connections, as a cable does that is pulled out; how many there were."""
        children = [int(pid) for pid in _children(self._process.pid)]
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(children)

    def _started(self) -> bool:
        path = os.pathsep.join(p for p in sys.path if p)
        environment = f'"PYTHONPATH={path}" OMP_NUM_THREADS=1'
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, environment=environment))
        with contextlib.suppress(OSError):
            Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation wants it, as root
        with open(self.folder / "log", "w") as log:
            self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=log)
        while self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return True
        return False


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _children(pid: int):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return text.split()

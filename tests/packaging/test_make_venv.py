"""What `make` does on machines that are not at hand: a fake Python stands for each, and writes down what it was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKE_PYTHON = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
*"version_info"*) exit {too_old} ;;
*"import venv, ensurepip"*) exit {no_venv} ;;
*"print(torch.__version__)"*) [ {torch} = none ] && exit 1; cat {torch_file} ;;
*"cuda.is_available"*) exit {no_gpu} ;;
*"import torch"*) [ {torch} != none ] ;;
"-m venv"*) for venv; do :; done; mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python" ;;
"-m pip install"*--editable*) [ "{pip_brings}" = "" ] || echo {pip_brings} > {torch_file}; exit {pip_fails} ;;
"-m pip install"*) exit {pip_fails} ;;
"--version") echo "Python 3.8.0" ;;
esac
"""
FAKE_UNAME = "#!/bin/sh\necho {system}\n"


class Machine:
    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder, self.script = folder, checkout / "scripts" / "make-venv"
        self.bin, self.log, self.venv = folder / "bin", folder / "log", folder / "venv"
        self.bin.mkdir()
        for tool in ("sh", "cat", "dirname", "mkdir", "cp", "rm", "env"):
            os.symlink(shutil.which(tool), self.bin / tool)
        self.program("uname", FAKE_UNAME.format(system="Linux"))

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(
        self, name="python3.8", too_old=0, no_venv=0, torch="none", no_gpu=0, pip_fails=0, pip_brings=""
    ) -> None:
        torch_file = self.folder / "torch"
        torch_file.write_text(torch + "\n")
        values = dict(too_old=too_old, no_venv=no_venv, torch=torch, no_gpu=no_gpu, pip_fails=pip_fails)
        self.program(name, FAKE_PYTHON.format(log=self.log, torch_file=torch_file, pip_brings=pip_brings, **values))

    def is_a_jetson(self) -> None:
        (self.folder / "etc").mkdir()
        (self.folder / "etc" / "nv_tegra_release").write_text("# R32 (release), REVISION: 7.1\n")

    def make(self, python: str = "") -> subprocess.CompletedProcess:
        env = {"PATH": str(self.bin), "EBBENCH_SYSFS_ROOT": str(self.folder)}
        return subprocess.run(
            [str(self.script), python, str(self.venv)],
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def asked(self, word: str):
        return [line for line in self.log.read_text().splitlines() if word in line]


@pytest.fixture
def machine(tmp_path, checkout):
    return Machine(tmp_path, checkout)


def only_line(done: subprocess.CompletedProcess) -> str:
    (line,) = done.stderr.splitlines()
    return line


def test_without_a_python_one_line_says_what_to_do(machine):
    done = machine.make()
    assert done.returncode == 2
    assert "no Python of 3.8 or newer" in only_line(done)
    assert "make PYTHON=" in only_line(done)


def test_a_name_on_the_path_that_starts_nothing_is_passed_over(machine):
    machine.program("python3.11", "#!/bin/sh\nexit 127\n")
    machine.python("python3.8")
    assert machine.make().returncode == 0
    assert machine.asked("-m venv")


def test_a_python_that_is_too_old_is_not_taken(machine):
    machine.python("python3", too_old=1)
    done = machine.make()
    assert done.returncode == 2
    assert "no Python of 3.8" in only_line(done)


def test_a_python_without_venv_names_the_package(machine):
    machine.python(no_venv=1)
    done = machine.make()
    assert done.returncode == 2
    assert "python3.8-venv" in only_line(done)


def test_other_systems_are_refused_in_one_line(machine):
    machine.program("uname", FAKE_UNAME.format(system="MINGW64_NT-10.0"))
    done = machine.make()
    assert done.returncode == 2
    assert "MINGW64_NT-10.0 is not supported" in only_line(done)


def test_macos_is_told_that_it_will_only_simulate(machine):
    machine.program("uname", FAKE_UNAME.format(system="Darwin"))
    machine.python()
    done = machine.make()
    assert done.returncode == 0
    assert "simulated" in only_line(done)


def test_elsewhere_the_versions_are_the_pinned_ones(machine):
    machine.python()
    assert machine.make().returncode == 0
    (install,) = machine.asked("--editable")
    assert "--constraint" in install
    assert not machine.asked("--system-site-packages")


def test_a_second_time_keeps_the_environment_and_installs_again(machine):
    machine.python()
    machine.make()
    assert machine.make().returncode == 0
    assert len(machine.asked("-m venv")) == 1
    assert len(machine.asked("--editable")) == 2


def test_a_failed_installation_is_not_a_success(machine):
    machine.python(pip_fails=1)
    done = machine.make()
    assert done.returncode == 2
    assert "make-venv:" in only_line(done)


def test_on_a_jetson_torch_is_neither_pinned_nor_installed(machine):
    machine.is_a_jetson()
    machine.python(torch="1.11.0a0+gitbc2c6ed")
    done = machine.make()
    assert (done.returncode, done.stderr) == (0, "")
    assert all("--system-site-packages" in line for line in machine.asked("-m venv"))
    assert not machine.asked("--constraint")
    assert not [line for line in machine.asked("pip install") if "torch" in line]


def test_on_a_jetson_the_python_is_the_one_that_has_torch(machine):
    machine.is_a_jetson()
    machine.python("python3.8", torch="1.11.0a0+gitbc2c6ed")
    machine.program("python3.11", "#!/bin/sh\ncase \"$*\" in *'import torch'*) exit 1 ;; esac\n")
    assert machine.make().returncode == 0
    assert machine.asked("-m venv")


def test_on_a_jetson_without_torch_nothing_is_installed(machine):
    machine.is_a_jetson()
    machine.python()
    done = machine.make()
    assert done.returncode == 2
    assert "install the board's own torch first" in only_line(done)
    assert not machine.asked("pip install")


def test_on_a_jetson_whose_torch_sees_no_gpu_it_is_said_loudly(machine):
    machine.is_a_jetson()
    machine.python(torch="2.4.1", no_gpu=1)
    done = machine.make()
    assert done.returncode == 0
    assert "its torch 2.4.1 sees no GPU" in done.stderr


def test_on_a_jetson_a_torch_that_changed_is_a_failure(machine):
    machine.is_a_jetson()
    machine.python(torch="2.1.0a0+41361538.nv23.06", pip_brings="2.13.0")
    done = machine.make()
    assert done.returncode == 2
    assert "torch changed from 2.1.0a0+41361538.nv23.06 to 2.13.0" in only_line(done)

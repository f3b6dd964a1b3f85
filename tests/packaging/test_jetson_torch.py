"""Installing ebbench never replaces the torch that came with a Jetson (docs/decisions/0002).

pip itself is asked, offline, in an environment of empty distributions, with a newer torch lying ready to tempt it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Dict, Iterable, Set

import pytest
from packaging.requirements import Requirement

JETSON_TORCHES = [
    "1.10.0",  # JetPack 4, NVIDIA
    "1.11.0a0+gitbc2c6ed",  # TX2 with Python 3.8
    "1.14.0a0+44dac51c.nv23.01",
    "2.0.0+nv23.05",
    "2.1.0a0+41361538.nv23.06",  # JetPack 5
    "2.5.0a0+872d972e41.nv24.08",  # JetPack 6
]
OTHERS = ["numpy", "pandas", "matplotlib", "click", "pyarrow", "pillow", "rich", "tomli"]
ON_A_JETSON = "import platform\nplatform.machine = lambda: 'aarch64'\n"


def metadata(name: str, version: str, requires: Iterable[str] = ()) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    return "\n".join(lines + [f"Requires-Dist: {r}" for r in requires]) + "\n"


def make_wheel(folder: Path, name: str, version: str, requires: Iterable[str] = ()) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata(name, version, requires))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


class Machine:
    """An environment that holds nothing but empty distributions, and pip run in it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "env", with_pip=False)
        self.python = folder / "env" / "bin" / "python"
        (self.site,) = (folder / "env" / "lib").glob("python*/site-packages")
        self.index = folder / "index"
        self.index.mkdir()
        make_wheel(self.index, "torch", "2.13.0")
        make_wheel(self.index, "torchvision", "0.28.0", ["torch==2.13.0"])
        for name in OTHERS:
            self.has(name, "999")

    def has(self, name: str, version: str) -> None:
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata(name, version))
        (info / "INSTALLER").write_text("pip\n")
        (info / "RECORD").write_text("")

    def is_a_jetson(self) -> None:
        (self.site / "sitecustomize.py").write_text(ON_A_JETSON)

    def would_install(self, requirement: str) -> Set[str]:
        """The names that pip would install for `requirement`."""
        env: Dict[str, str] = {k: v for k, v in os.environ.items() if not k.startswith("PIP_") and k != "PYTHONPATH"}
        env.update(PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
        options = ["--dry-run", "--no-index", f"--find-links={self.index}", "--quiet", "--report=-"]
        answer = subprocess.run(
            [sys.executable, "-m", "pip", f"--python={self.python}", "install", *options, requirement],
            env=env,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        report = json.loads(answer.stdout[answer.stdout.index("{") :])
        return {item["metadata"]["name"] for item in report["install"]}


@pytest.fixture(scope="module")
def able_pip() -> None:
    pip = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True).stdout
    version = re.match(r"pip (\d+)\.(\d+)", pip)
    if version is None or tuple(map(int, version.groups())) < (22, 3):
        pytest.skip("pip of 22.3 or newer is needed to ask what it would install elsewhere")


@pytest.fixture
def machine(able_pip, tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("version", JETSON_TORCHES)
def test_pip_keeps_the_torch_of_a_jetson_that_has_no_torchvision(machine, wheel, version):
    machine.is_a_jetson()
    machine.has("torch", version)
    assert machine.would_install(str(wheel)) == {"ebbench"}


def test_pip_keeps_the_torchvision_that_belongs_to_it(machine, wheel):
    machine.has("torch", "1.11.0a0+gitbc2c6ed")
    machine.has("torchvision", "0.12.0a0+9b5a3fe")
    assert machine.would_install(str(wheel)) == {"ebbench"}


def test_the_test_would_notice_a_higher_floor(machine):
    machine.is_a_jetson()
    machine.has("torch", "1.11.0a0+gitbc2c6ed")
    assert machine.would_install("torch>=1.11") == {"torch"}


def test_the_test_would_notice_torchvision_among_the_requirements_of_a_jetson(machine, wheel):
    machine.has(
        "torch", "2.1.0a0+41361538.nv23.06"
    )  # not said to be a Jetson: torchvision is required and brings its torch
    assert {"torch", "torchvision"} <= machine.would_install(str(wheel))


def test_torch_has_the_only_floor_and_no_ceiling(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    requirements = [Requirement(line.split(": ", 1)[1]) for line in lines if line.startswith("Requires-Dist: ")]
    torches = [r for r in requirements if r.name == "torch"]
    assert [str(r.specifier) for r in torches] == [">=1.10"]
    assert all(torches[0].specifier.contains(version, prereleases=True) for version in JETSON_TORCHES)
    visions = [r for r in requirements if r.name == "torchvision"]
    assert all(r.marker and not r.marker.evaluate({"platform_machine": "aarch64", "extra": ""}) for r in visions)

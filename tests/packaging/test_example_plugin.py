"""The example plug-in of the documentation is installed as a user installs it, and used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest


@pytest.fixture(scope="module")
def source(checkout, tmp_path_factory) -> Path:
    """A copy, so that nothing is built in the sources."""
    copy = tmp_path_factory.mktemp("plugin") / "example_plugin"
    shutil.copytree(checkout / "docs" / "example_plugin", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def environment(source) -> Dict[str, str]:
    """The environment of a process that has the plug-in installed beside ebbench."""
    for needed in ("pip", "hatchling"):
        pytest.importorskip(needed, reason=f"{needed} is needed to install the example plug-in")
    site = source.parent / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "-qq",
    ]
    done = subprocess.run([*command, "--target", str(site), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *(p for p in sys.path if p)])}


def call(environment, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.mark.realtime
def test_its_meter_is_sampled_by_its_name(environment, tmp_path):
    power_mw = tmp_path / "power_mw"
    power_mw.write_text("7500\n")
    uri = f"supply:{power_mw}?scope=devkit"
    done = call(environment, "ebbench", "meters", "sample", uri, "--seconds", "0.5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["meter"], found["scope"], found["simulated"]) == ("supply", "devkit", False)
    assert found["total_w"] == found["rails"]["INPUT"]["mean_w"] == 7.5 and found["rails"]["INPUT"]["readings"] >= 3


@pytest.mark.realtime
def test_its_meter_is_one_of_a_bench(environment, tmp_path):
    (tmp_path / "power_mw").write_text("7500\n")
    (tmp_path / "desk.toml").write_text(
        'board = "example-carrier"\n[[meters]]\ntype = "supply"\naddress = "power_mw"\nscope = "devkit"\nname = "lab"\n'
        'gain_u = 0.002\n[[meters]]\ntype = "sim"\nother_w = 5\n'
    )
    done = call(environment, "ebbench", "measure", "--bench", "desk.toml", "--json", "--", "sleep", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["board"]["name"] == "example-carrier" and record["energy"]["reference"]["meter"] == "lab"
    (compared,) = record["energy"]["cross_checks"]
    assert record["kind"] == "measured" and compared["meter"] == "sim"
    assert compared["expected"] is None  # nothing follows for a measured power from a simulated one


def test_its_meter_without_a_scope_is_refused_in_one_line(environment, tmp_path):
    done = call(environment, "ebbench", "meters", "sample", "supply:power_mw", cwd=tmp_path)
    assert done.returncode == 2 and "scope=devkit" in done.stderr and len(done.stderr.splitlines()) == 1


def test_its_meter_and_its_board_are_listed(environment, tmp_path):
    found = json.loads(call(environment, "ebbench", "meters", "--json", cwd=tmp_path).stdout)
    (row,) = [m for m in found["meters"] if m["name"] == "supply"]
    assert not row["available"] and "supply:/path" in row["reason"]
    found = json.loads(call(environment, "ebbench", "boards", "--json", cwd=tmp_path).stdout)
    assert "example-carrier" in [b["name"] for b in found["boards"]]


@pytest.mark.realtime
def test_its_own_tests_pass(environment, source):
    done = call(environment, "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr

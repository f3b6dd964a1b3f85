"""The comparison of an installed ebbench with the checkout notices each way in which they can differ."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

FAULTS = {
    "a changed byte": (lambda site: (site / "ebbench/py.typed").write_text("x"), "ebbench/py.typed differs"),
    "a missing file": (lambda site: (site / "ebbench/clock.py").unlink(), "ebbench/clock.py"),
    "a file more": (
        lambda site: (site / "ebbench_reports/more.py").write_text(""),
        "ebbench_reports/more.py is installed and not in the checkout",
    ),
    "another entry point": (
        lambda site: rewrite(next(site.glob("*.dist-info")) / "entry_points.txt", "sim:SimMeter", "sim:Other"),
        "entry point 'sim' of ebbench.meters differs",
    ),
}


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def site(wheel, tmp_path):
    """What pip lays into site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def compared(site, checkout):
    return subprocess.run(
        [sys.executable, str(checkout / "scripts/same-as-sources"), str(checkout)],
        cwd=site.parent, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip


def test_a_wheel_of_the_checkout_is_the_checkout(site, checkout):
    done = compared(site, checkout)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", list(FAULTS))
def test_what_differs_is_named(site, checkout, fault):
    plant, said = FAULTS[fault]
    plant(site)
    done = compared(site, checkout)
    assert done.returncode == 1 and said in done.stderr

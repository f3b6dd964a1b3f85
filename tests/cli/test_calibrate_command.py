"""``ebbench calibrate`` as it is typed, with its real load."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

EBBENCH = [sys.executable, "-c", "from ebbench.__main__ import main; main()"]


def call(*arguments, **environment):
    """Run ``ebbench`` as a process of its own: (exit code, stdout bytes, stderr)."""
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*EBBENCH, *arguments], env={**surroundings, **environment}, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


@pytest.mark.realtime
def test_a_dry_run_shows_all_and_keeps_nothing(tmp_path):
    arguments = ("calibrate", "sim?averaging_s=0.02&noise_w=0.05&rate_hz=200", "--seconds", "3", "--device", "cpu")
    code, out, err = call(*arguments, "--dry-run", "--json", XDG_CONFIG_HOME=str(tmp_path))
    assert code == 0, err
    found = json.loads(out)
    assert found["path"] is None and not any(tmp_path.iterdir())
    response = found["calibration"]["rails"]["VDD_IN"]["response"]
    assert response["delay_s"] == pytest.approx(0.01, abs=0.005) and "idle and load in turn" in err


@pytest.mark.realtime
def test_no_step_ends_in_one_line_with_the_numbers_and_exit_code_1(tmp_path):
    arguments = ("calibrate", "sim?train_w=2.5&noise_w=0.05", "--seconds", "2", "--device", "cpu")
    code, out, err = call(*arguments, XDG_CONFIG_HOME=str(tmp_path))
    assert (code, out) == (1, b"") and "no distinct step: idle 2." in err and not any(tmp_path.iterdir())


def test_a_meter_that_does_not_exist_is_the_users_to_fix(tmp_path):
    code, _, err = call("calibrate", "ina3222", "--device", "cpu", XDG_CONFIG_HOME=str(tmp_path))
    assert code == 2 and "ina3221" in err

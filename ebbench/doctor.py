"""What is missing on this machine to measure well, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

from ebbench import environment, obstacles, plugins
from ebbench.board.restore import left_behind, sentence
from ebbench.energy.sampler_process.sweeps import LIBRARY, Sweeps
from ebbench.errors import EbbenchError
from ebbench.meter_trials.quality import assess
from ebbench.obstacles import FAIL, OK, WARN, Finding
from ebbench.obstacles import finding as _finding
from ebbench.protocols import Board

#: free bytes below which a run of vgg16 is refused (two checkpoints of 118 MB, an hour of 12 rails at 100 Hz and its copy, and a
#: fifth to spare; every run makes its own estimate), and below which a long one is tight
DISK_FAIL, DISK_WARN = 400 << 20, 2 << 30


def diagnose() -> List[Finding]:
    """All findings about this machine, in the order in which they matter."""
    board = plugins.choose_board()
    findings = [python_finding(), torch_finding(_ask_torch), board_finding(board)]
    meters = plugins.survey(board)
    findings += meter_findings(meters["meters"])
    findings += quality_findings(meters["auto"], board)
    findings += [*sampler_findings(), *library_findings()]
    findings += [disk_finding(Path.cwd()), *power_findings(), *obstacles.memory_findings()]
    findings += obstacles.process_findings(own=[os.getpid()])
    findings += obstacles.gpu_process_findings(obstacles.ask_nvidia_smi)
    return findings


def python_finding() -> Finding:
    """The interpreter and the packages that decide about speed and numbers."""
    versions = ", ".join(f"{k} {v or 'missing'}" for k, v in environment.package_versions().items())
    return _finding("python", OK, f"{platform.python_version()} with {versions}")


def torch_finding(ask: Callable[[], Optional[bool]]) -> Finding:
    """Whether torch sees the GPU that is there; `ask` says what torch finds, None where it cannot be imported."""
    version = environment.package_version("torch")
    if version is None:
        return _finding("torch", FAIL, "not installed", _torch_advice())
    sees_gpu = ask()
    if sees_gpu is None:
        return _finding("torch", FAIL, f"{version} is installed but cannot be imported", _torch_advice())
    if sees_gpu or not _has_gpu():
        return _finding(
            "torch", OK, f"{version}, {'sees the GPU' if sees_gpu else 'on the CPU; there is no NVIDIA GPU'}"
        )
    found = f"{version} sees no GPU although there is one: everything would run on the CPU"
    return _finding("torch", FAIL, found, _torch_advice())


def _torch_advice() -> str:
    """How to get a torch for this machine's GPU. A Jetson's comes with its JetPack; the index only has one for the CPU."""
    if environment.is_jetson():
        return "pip uninstall -y torch; install JetPack's torch, then: python3 -m venv --system-site-packages .venv"
    return "pip install --force-reinstall torch"


def _has_gpu() -> bool:
    return environment.is_jetson() or environment.read_text("/proc/driver/nvidia/version") is not None


def _ask_torch() -> Optional[bool]:
    """Whether torch sees a GPU, asked in a process of its own: it takes seconds and a gigabyte, and may crash."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    try:  # not in this folder: it may hold a torch.py
        done = subprocess.run(command, cwd=os.sep, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().endswith("True") if done.returncode == 0 else None


def board_finding(board: Optional[Board]) -> Finding:
    """Which board this is, or how to say it."""
    if board is not None:
        return _finding("board", OK, board.title)
    release = environment.l4t_release()
    if release is None and not environment.is_jetson():
        return _finding("board", OK, "no Jetson")
    model = environment.device_tree()[0]
    found = f"a Jetson (L4T {release or 'unknown'}) of no known kind: {model or 'its device tree is not visible'}"
    names = ", ".join(sorted(plugins.boards()))
    return _finding("board", WARN, found, f"ebbench run --board NAME ({names})")


def meter_findings(rows: List[Dict[str, Any]]) -> Iterator[Finding]:
    """One finding per meter that is here, and one if there is none; `rows` as `plugins.survey` gives them."""
    sensors = [row for row in rows if row["name"] in plugins.AUTO_ORDER or not row["simulated"]]
    for row in sensors:
        if row["available"]:
            yield _finding(f"meter {row['name']}", OK, row["reason"], "")
        elif row["present"]:
            yield _finding(f"meter {row['name']}", FAIL, "here, but cannot be read", row["reason"])
    if environment.is_simulated_root():
        found = f"sensors are read below {environment.sysfs_root()}: every energy will be simulated"
        yield _finding("meter", WARN, found, f"unset {environment.SYSFS_ROOT}")
    elif not any(row["available"] for row in sensors):
        advice = "connect an external meter (ebbench meters lists them), or look around with: ebbench run --meter sim"
        yield _finding("meter", WARN, "none: energies can only be simulated on this machine", advice)


def quality_findings(name: Optional[str], board: Optional[Board]) -> Iterator[Finding]:
    """How good the meter `name` is that auto takes, tried for a moment, and what is known of it from a calibration."""
    if name is None or name == plugins.SIMULATED:
        return
    try:
        quality = assess(name, board)
    except EbbenchError as error:
        yield _finding(f"auto takes {name}", FAIL, "it cannot be sampled", str(error))
        return
    mend = "" if not quality.unknown else f"ebbench calibrate {name} --against a reference meter"
    yield _finding(f"auto takes {name}", WARN if quality.unknown else OK, quality.text, mend)
    if quality.calibration:
        yield _finding("calibration", OK, quality.calibration)
    else:
        yield _finding("calibration", WARN, f"none of {name} on this machine", f"ebbench calibrate {name}")


def sampler_findings(path: Path = LIBRARY) -> Iterator[Finding]:
    """Whether files are read by compiled code, which spares the machine that is measured."""
    if Sweeps.load(heard=0, path=path) is None:
        found = (
            "no C compiler was there when ebbench was installed: reading the kernel's files takes twice the CPU time"
        )
        yield _finding("sampler", WARN, found, "sudo apt install gcc, then install ebbench again")


def library_findings() -> Iterator[Finding]:
    """Libraries that do not fit together, and the vendors' that this machine's sensors need."""
    yield from obstacles.numpy_finding(environment.package_version("torch"), environment.package_version("numpy"))
    if environment.is_jetson():
        version = environment.package_version("jetson-stats")
        advice = "" if version else "pip install 'ebbench[jetson]' (the same version as the service: jtop --version)"
        yield _finding("jetson-stats", OK if version else WARN, version or "not installed; only jtop needs it", advice)
        yield from obstacles.jtop_finding(version, obstacles.ask_jtop_service)
    if environment.read_text("/proc/driver/nvidia/version") is not None:
        version = environment.package_version("nvidia-ml-py")
        advice = "" if version else "pip install 'ebbench[nvidia]'"
        yield _finding("nvidia-ml-py", OK if version else FAIL, version or "not installed; nvml needs it", advice)


def disk_finding(folder: Path) -> Finding:
    """Whether the traces of a run have room."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if free < DISK_FAIL:
        return _finding("disk", FAIL, found, "make room, or choose another folder with --out")
    if free < DISK_WARN:
        return _finding("disk", WARN, found, "a day at 100 Hz takes about 1 GB; make room, or use --out")
    return _finding("disk", OK, found)


def power_findings() -> Iterator[Finding]:
    """What changes speed and power under a run: battery, clocks, power mode."""
    yield from obstacles.battery_findings()
    governor = environment.cpu()["governor"]
    if governor is not None:
        mend = "sudo jetson_clocks" if environment.is_jetson() else "sudo cpupower frequency-set -g performance"
        steady = governor == "performance"
        found = f"governor {governor}" + ("" if steady else ": clocks, and so times and energies, vary more")
        yield _finding("cpu clocks", OK if steady else WARN, found, "" if steady else mend)
    left = left_behind()
    if left is not None:
        yield _finding("board changed", WARN, sentence(left), "ebbench boards --restore")
    yield from obstacles.gpu_clock_findings()
    mode = environment.power_mode()
    if mode is not None:
        name = environment.power_modes().get(mode)
        yield _finding("power mode", OK, f"{mode} ({name})" if name else mode)

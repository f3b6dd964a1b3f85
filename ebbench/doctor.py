"""What is missing on this machine to measure well, and the command that mends it; and a meter tried for some seconds."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from ebbench import environment, plugins
from ebbench.board.restore import left_behind, sentence
from ebbench.clock import monotonic_ns
from ebbench.energy.sampler import Sampler
from ebbench.energy.series import series_of
from ebbench.energy.trace import Chunk, read_whole
from ebbench.errors import ConfigError, EbbenchError
from ebbench.meter_ref import Named
from ebbench.protocols import Board, MeterInfo
from ebbench.units import NS_PER_S

OK, WARN, FAIL = "ok", "warn", "fail"
#: free bytes below which a run is refused, and below which it is tight
DISK_FAIL, DISK_WARN = 200 << 20, 2 << 30

#: name, verdict (ok, warn, fail), what was found, and the command or deed that mends it ("" where nothing is to be done)
Finding = Dict[str, str]


def diagnose() -> List[Finding]:
    """All findings about this machine, in the order in which they matter."""
    board = plugins.choose_board()
    findings = [python_finding(), torch_finding(_ask_torch), board_finding(board)]
    findings += meter_findings(plugins.survey(board)["meters"])
    findings += library_findings()
    findings += [disk_finding(Path.cwd()), *power_findings()]
    return findings


def _finding(name: str, verdict: str, found: str, advice: str = "") -> Finding:
    return {"name": name, "verdict": verdict, "found": found, "advice": advice}


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


def library_findings() -> Iterator[Finding]:
    """The vendors' libraries that this machine's sensors need."""
    if environment.is_jetson():
        version = environment.package_version("jetson-stats")
        advice = "" if version else "pip install 'ebbench[jetson]' (the same version as the service: jtop --version)"
        yield _finding("jetson-stats", OK if version else WARN, version or "not installed; only jtop needs it", advice)
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
    supplies = environment.below_root("/sys/class/power_supply")
    for supply in sorted(supplies.glob("*")):
        state = environment.read_text("status", supply)
        if environment.read_text("type", supply) == "Battery" and state == "Discharging":
            yield _finding(
                "battery", WARN, f"{supply.name} is discharging: clocks may be lowered", "plug in the supply"
            )
    governor = environment.cpu()["governor"]
    if governor is not None:
        mend = "sudo jetson_clocks" if environment.is_jetson() else "sudo cpupower frequency-set -g performance"
        steady = governor == "performance"
        found = f"governor {governor}" + ("" if steady else ": clocks, and so times and energies, vary more")
        yield _finding("cpu clocks", OK if steady else WARN, found, "" if steady else mend)
    left = left_behind()
    if left is not None:
        yield _finding("board changed", WARN, sentence(left), "ebbench boards --restore")
    mode = environment.power_mode()
    if mode is not None:
        name = environment.power_modes().get(mode)
        yield _finding("power mode", OK, f"{mode} ({name})" if name else mode)


def sample(name: Named, seconds: float = 5.0, rate_hz: Optional[float] = None, board: str = "auto") -> Dict[str, Any]:
    """Read the meter `name` (a URI, or a meter of a bench file) for `seconds` through the sampler, and say what it gave.

    ``{meter, scope, simulated, seconds, rate_hz, missed, rails: {name: {mean_w, min_w, max_w, readings}}, total_w}``: powers in W,
    `total_w` is the mean of the board's total and None where the meter has none.
    """
    if not 0 < seconds <= 3600 or (rate_hz is not None and not rate_hz > 0):
        raise ConfigError(f"seconds = {seconds:g}, rate = {rate_hz}: sample between 0 and 3600 s, at a rate above 0")
    ((_, factory, request),) = plugins.choose_meters([name], plugins.choose_board(board))
    with tempfile.TemporaryDirectory(prefix="ebbench-") as folder:
        trace = Path(folder) / "trace.arrows"
        sampler = Sampler.start(factory, request, trace, rate_hz)
        try:
            info = sampler.wait_ready()
            start_ns = monotonic_ns()
            time.sleep(seconds)
            summary = sampler.stop()
        finally:
            sampler.kill()
        return summarise(info, read_whole(trace), start_ns, seconds, summary)


def summarise(info: MeterInfo, chunk: Chunk, start_ns: int, seconds: float, summary: Dict[str, Any]) -> Dict[str, Any]:
    """What `sample` returns, from the readings within `seconds` of `start_ns` and the sampler's last words."""
    inside = (chunk.time_ns >= start_ns) & (chunk.time_ns < start_ns + seconds * NS_PER_S)
    count = int(inside.sum())
    missed = summary.get("missed")
    if missed is None:  # a meter with a schedule of its own: what its rate would have given
        missed = max(0, int(seconds * summary["asked_hz"]) - count)
    rails = {}
    for rail in info.rails:
        try:
            series = series_of(info, [rail.name])
        except EbbenchError:  # a rail of volts alone has no power to show
            continue
        rails[rail.name] = _statistics(series.values(chunk)[inside], series.times_ns(chunk)[inside], series.is_counter)
    means = [rails[name]["mean_w"] for name in info.total if name in rails]
    complete = bool(means) and len(means) == len(info.total) and None not in means
    return {
        "meter": info.name,
        "scope": info.scope,
        "simulated": info.simulated,
        "seconds": seconds,
        "rate_hz": count / seconds,
        "missed": missed,
        "rails": rails,
        "total_w": sum(means) if complete else None,
    }


def _statistics(values: np.ndarray, times_ns: np.ndarray, is_counter: bool) -> Dict[str, Any]:
    """Mean, least and greatest power (W) of a rail's readings; of a counter (J) only the mean, from its two ends."""
    read = np.isfinite(values)
    values, times_ns = values[read], times_ns[read]
    found: Dict[str, Any] = {"mean_w": None, "min_w": None, "max_w": None, "readings": len(values)}
    if is_counter and len(values) > 1 and times_ns[-1] > times_ns[0]:
        found["mean_w"] = float(values[-1] - values[0]) / (float(times_ns[-1] - times_ns[0]) / NS_PER_S)
    elif not is_counter and len(values):
        found.update(mean_w=float(values.mean()), min_w=float(values.min()), max_w=float(values.max()))
    return found

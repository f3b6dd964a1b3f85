"""What on a machine stands in the way of measuring well, each with the command that mends it; read below `sysfs_root`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ebbench import environment

OK, WARN, FAIL = "ok", "warn", "fail"
#: swap in use, and memory left, at which a run is likely to swap (bytes)
SWAPPING, SHORT_OF_MEMORY = 256 << 20, 512 << 20
#: another process counts from this part of one core on
BUSY_SHARE = 0.1
#: how long processes are watched (s)
WATCH_S = 0.5
#: the first torch that was built for numpy 2 (its release notes: 2.3)
TORCH_FOR_NUMPY_2 = (2, 3)

#: name, verdict (ok, warn, fail), what was found, and the command or deed that mends it ("" where nothing is to be done)
Finding = Dict[str, str]


def finding(name: str, verdict: str, found: str, advice: str = "") -> Finding:
    """One finding."""
    return {"name": name, "verdict": verdict, "found": found, "advice": advice}


def numpy_finding(torch: Optional[str], numpy: Optional[str]) -> Iterator[Finding]:
    """A torch that was built for numpy 1 cannot use numpy 2: every array that passes between them is an error."""
    if torch and numpy and _numbers(torch) < TORCH_FOR_NUMPY_2 and _numbers(numpy)[:1] >= (2,):
        yield finding(
            "numpy", FAIL, f"{numpy} beside torch {torch}, which was built for numpy 1", "pip install 'numpy<2'"
        )


def _numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def jtop_finding(client: Optional[str], ask: Callable[[], Optional[str]]) -> Iterator[Finding]:
    """Whether the library and the running service of jetson-stats understand each other: same major.minor."""
    service = ask() if client else None
    if client and service and _numbers(client) != _numbers(service):
        major, minor = _numbers(service)
        found = f"library {client} here, service {service}: they only talk in the same major.minor"
        yield finding("jtop version", WARN, found, f"pip install 'jetson-stats=={major}.{minor}.*'")


def ask_jtop_service() -> Optional[str]:
    """The version of the jetson-stats that jtop.service runs, asked of the program in its unit; None where there is none."""
    unit = environment.read_text("/etc/systemd/system/jtop.service") or ""
    program = re.search(r"^ExecStart\s*=\s*(\S+)", unit, re.MULTILINE)
    if program is None or environment.is_simulated_root():
        return None
    said = _output([program.group(1), "--version"])
    version = re.search(r"\d+\.\d+(\.\d+)?", said or "")
    return version.group(0) if version else None


def memory_findings() -> Iterator[Finding]:
    """Swapping changes times and energies, and little free memory ends a run."""
    text = environment.read_text("/proc/meminfo") or ""
    sizes = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    used = sizes.get("SwapTotal", 0) - sizes.get("SwapFree", 0)
    free = sizes.get("MemAvailable")
    if used > SWAPPING:
        yield finding("swap", WARN, f"{used / 1e9:.1f} GB swapped out", "close other programs, then: sudo swapoff -a")
    if free is not None and free < SHORT_OF_MEMORY:
        yield finding(
            "memory", WARN, f"{free / 1e6:.0f} MB available", "close other programs; `free -h` shows the state"
        )


def gpu_clock_findings() -> Iterator[Finding]:
    """A Jetson's GPU whose clock may move between two limits."""
    for folder in sorted(environment.below_root("/sys/class/devfreq").glob("*")):
        if not re.search(r"gpu|gv11b|gp10b|gm20b|ga10b", folder.name):
            continue
        low, high = (environment.read_text(f"{name}_freq", folder) for name in ("min", "max"))
        if low and high and low != high:
            found = f"free between {int(low) / 1e6:.0f} and {int(high) / 1e6:.0f} MHz: times and energies vary more"
            yield finding("gpu clocks", WARN, found, "sudo jetson_clocks")


def battery_findings() -> Iterator[Finding]:
    """The machine runs from its battery. A mouse's battery is none of ours: the kernel gives it the scope Device."""
    for supply in sorted(environment.below_root("/sys/class/power_supply").glob("*")):
        kind, scope, state = (environment.read_text(name, supply) for name in ("type", "scope", "status"))
        if kind == "Battery" and scope != "Device" and state == "Discharging":
            found = f"{supply.name} is discharging: clocks may be lowered"
            yield finding("battery", WARN, found, "plug in the supply")


#: CPU time (in ticks) by (process id, name)
Ticks = Dict[Tuple[int, str], int]


def cpu_ticks() -> Ticks:
    """The CPU time that each process has had."""
    found: Ticks = {}
    for folder in environment.below_root("/proc").glob("[0-9]*"):
        text = environment.read_text("stat", folder) or ""
        match = re.fullmatch(r"(\d+) \((.*)\) (.*)", text, re.DOTALL)
        fields = match.group(3).split() if match else []
        if match and len(fields) > 12:
            found[int(match.group(1)), match.group(2)] = int(fields[11]) + int(fields[12])
    return found


def process_findings(wait: Callable[[float], None] = time.sleep, own: Sequence[int] = ()) -> Iterator[Finding]:
    """Other processes that use the CPU now; `own` are ours."""
    before = cpu_ticks()
    wait(WATCH_S)
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    shares = [
        ((after - before[key]) / ticks_per_s / WATCH_S, key) for key, after in cpu_ticks().items() if key in before
    ]
    busy = sorted((s, key) for s, key in shares if s >= BUSY_SHARE and key[0] not in own)[::-1]
    if busy:
        names = ", ".join(f"{_shown(name)} ({pid}) {100 * share:.0f} %" for share, (pid, name) in busy[:3])
        more = f" and {len(busy) - 3} more" if len(busy) > 3 else ""
        found = f"busy with {names}{more} of a core; their energy is measured too"
        yield finding("cpu", WARN, found, "end them, or wait; `top` shows them")


def gpu_process_findings(ask: Callable[[], Optional[str]]) -> Iterator[Finding]:
    """Other processes on an NVIDIA GPU; `ask` gives what nvidia-smi says, None where it is not there."""
    lines = [line.split(",") for line in (ask() or "").splitlines() if re.match(r"\s*\d+\s*,", line)]
    if lines:
        names = ", ".join(f"{_shown(name.strip().rpartition('/')[2])} ({pid.strip()})" for pid, name, *_ in lines[:3])
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        yield finding(
            "gpu", WARN, f"used by {names}{more}; their energy is measured too", "end them, or wait; see nvidia-smi"
        )


def ask_nvidia_smi() -> Optional[str]:
    """The compute processes on all GPUs: pid, name."""
    program = shutil.which("nvidia-smi")
    if program is None or environment.is_simulated_root():
        return None
    return _output([program, "--query-compute-apps=pid,process_name", "--format=csv,noheader"])


def _output(command: List[str]) -> Optional[str]:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _shown(name: str) -> str:
    """A process's name chooses itself: what is not printable is not shown, and no more than the kernel's 15 characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in name[:24])

"""What machine this is: read from files and package metadata, never by importing torch.

Everything that the kernel or L4T tells (``/sys``, ``/proc``, ``/etc/nv_tegra_release``) is read below `sysfs_root`, so that
a folder can stand in for a board; what is read there counts as simulated. Personal data beyond the host's name is not read.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ebbench.clock import boot_id

SYSFS_ROOT = "EBBENCH_SYSFS_ROOT"
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow")
#: thermal zones that show no temperature: a TX2's PMIC-Die always says 100, and the fan's estimate is a mix of the others
IGNORED_ZONES = ("PMIC-Die", "thermal-fan-est")
#: the CPU flags that change how fast, and in which order, a network is summed up
_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "asimdhp", "sve", "bf16")


def sysfs_root() -> Path:
    """The folder that stands for ``/``: the environment's EBBENCH_SYSFS_ROOT, or ``/`` itself."""
    return Path(os.environ.get(SYSFS_ROOT) or "/")


def is_simulated_root() -> bool:
    """Whether sensors are files of somebody's making: then nothing that is read from them was measured."""
    return os.path.realpath(sysfs_root()) != "/"


def below_root(path: str, root: Optional[Path] = None) -> Path:
    """`path` (absolute) below `root`, which is `sysfs_root` unless it is given."""
    return (sysfs_root() if root is None else root) / path.lstrip("/")


def read_text(path: str, root: Optional[Path] = None) -> Optional[str]:
    """The stripped text of a file below the root, device-tree NULs cut off; None where it cannot be read."""
    try:
        content = below_root(path, root).read_bytes()
    except OSError:
        return None
    return content.decode("utf-8", "replace").strip("\0 \t\r\n")


def device_tree(root: Optional[Path] = None) -> Tuple[Optional[str], List[str]]:
    """The board's model and its compatible strings, most specific first; (None, []) where the tree is masked or absent."""
    for folder in ("/proc/device-tree", "/sys/firmware/devicetree/base"):
        model, compatible = read_text(f"{folder}/model", root), read_text(f"{folder}/compatible", root)
        if model or compatible:
            return model, [part.strip() for part in (compatible or "").split("\0") if part.strip()]
    # the kernel keeps the model here too, where a container does not mask it
    return read_text("/sys/devices/soc0/machine", root) or None, []


def l4t_release(root: Optional[Path] = None) -> Optional[str]:
    """NVIDIA's Linux for Tegra as ``32.7.6``; None where this is no Jetson. A file in a form unknown to us is given as it is."""
    text = read_text("/etc/nv_tegra_release", root)
    if text is None:
        return None
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found.group(1)}.{found.group(2)}" if found else text[:80]


def is_jetson(root: Optional[Path] = None) -> bool:
    """Whether L4T or the device tree says Tegra."""
    return l4t_release(root) is not None or any("nvidia,tegra" in part for part in device_tree(root)[1])


def package_versions() -> Dict[str, Optional[str]]:
    """Installed versions from the packages' metadata; None where a package is not installed."""
    return {name: package_version(name) for name in PACKAGES}


def package_version(name: str) -> Optional[str]:
    """The installed version of one package, without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu(root: Optional[Path] = None) -> Dict[str, Any]:
    """Model name and the instruction sets that matter to a network, from ``/proc/cpuinfo``, and the CPUs we may use."""
    text = read_text("/proc/cpuinfo", root) or ""
    fields: Dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    present = set((fields.get("flags") or fields.get("features") or "").split())
    return {
        "model": fields.get("model name") or fields.get("hardware"),
        "flags": [flag for flag in _FLAGS if flag in present],
        "count": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", root),
    }


def power_mode(root: Optional[Path] = None) -> Optional[str]:
    """The number of nvpmodel's mode on a Jetson (``pmode:0002`` is "2"), the platform profile on a PC; None where unknown."""
    status = read_text("/var/lib/nvpmodel/status", root)
    found = re.search(r"pmode:(\d+)", status or "")
    return str(int(found.group(1))) if found else read_text("/sys/firmware/acpi/platform_profile", root)


def power_modes(root: Optional[Path] = None) -> Dict[str, str]:
    """The modes of this machine's nvpmodel by number; empty where its ``/etc/nvpmodel.conf`` cannot be read."""
    text = read_text("/etc/nvpmodel.conf", root) or ""
    return {m.group(1): m.group(2) for m in re.finditer(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", text, re.M)}


def hottest_c(root: Optional[Path] = None) -> Optional[float]:
    """The temperature (degrees Celsius) of the hottest thermal zone; None where there is none."""
    found = []
    for zone in sorted(below_root("/sys/class/thermal", root).glob("thermal_zone*")):
        kind, text = read_text("type", zone) or "", read_text("temp", zone) or ""
        if re.fullmatch(r"-?\d+", text) and kind not in IGNORED_ZONES:
            found.append(int(text) * 1e-3)
    return max(found) if found else None


def is_container(root: Optional[Path] = None) -> bool:
    """Whether we run inside a container, as far as its traces show."""
    marks = ("/.dockerenv", "/run/.containerenv")
    cgroup = read_text("/proc/1/cgroup", root) or ""
    return any(below_root(mark, root).exists() for mark in marks) or bool(re.search("docker|lxc|kubepods", cgroup))


def git_state(folder: Optional[Path] = None) -> Optional[Dict[str, Any]]:
    """The commit of the working directory and whether files differ from it; None outside of a repository."""
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(folder: Optional[Path], *arguments: str) -> Optional[str]:
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe(root: Optional[Path] = None) -> Mapping[str, Any]:
    """All of it, as JSON values for the manifest. What cannot be read is None."""
    model, compatible = device_tree(root)
    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "kernel": platform.release(),
        "system": platform.system(),
        "machine": platform.machine(),
        "host": socket.gethostname(),
        "boot_id": boot_id(),
        "cpu": cpu(root),
        "l4t": l4t_release(root),
        "device_tree": {"model": model, "compatible": compatible},
        "power_mode": power_mode(root),
        "container": is_container(root),
        "simulated_root": is_simulated_root() if root is None else os.path.realpath(root) != "/",
        "git": git_state(),
    }

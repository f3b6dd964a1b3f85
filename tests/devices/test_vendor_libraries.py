"""Each vendor's library is known to one module, so that the rest works without it and is never under its licence."""

from __future__ import annotations

import ast
from pathlib import Path

import ebbench
import ebbench_baselines
import ebbench_devices
import ebbench_reports

#: library, and the one module of ebbench_devices that may load it
KNOWN_TO = {
    "pynvml": "nvidia/nvml_library.py",
    "jtop": "nvidia/jtop_connection.py",
    "pyvisa": "instruments/visa.py",
    "serial": "lines/serial_port.py",
    "joulescope": "instruments/joulescope_link.py",
    "pyjoulescope_driver": "instruments/joulescope_link.py",
}


def loaded_by(path: Path):
    """Top-level names of what a file imports, also by ``import_module``; ``find_spec`` only looks."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and ast.dump(node.func).count("'import_module'"):
            yield from (str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant))


def test_a_vendors_library_is_loaded_by_one_module():
    packages = (ebbench, ebbench_baselines, ebbench_devices, ebbench_reports)
    devices = Path(ebbench_devices.__file__).parent
    files = [path for package in packages for path in Path(package.__file__).parent.rglob("*.py")]
    found = {(name, path) for path in files for name in loaded_by(path) if name in KNOWN_TO}
    known = {(name, devices / path) for name, path in KNOWN_TO.items()}
    assert {one for one in known if one[0] in ("pynvml", "jtop")} <= found  # the search itself finds what is there
    assert found <= known


def test_the_cuda_driver_is_loaded_by_one_module():
    """By its file's name, since it has no package of its own."""
    root = Path(ebbench.__file__).parent
    packages = (ebbench, ebbench_baselines, ebbench_devices, ebbench_reports)
    files = [path for package in packages for path in Path(package.__file__).parent.rglob("*.py")]
    assert [path for path in files if "libcuda.so" in path.read_text(encoding="utf-8")] == [root / "cuda_driver.py"]

"""Runs the real jtop.service of jetson-stats on a folder that stands for a board: ``python jtop_service.py ROOT [options]``.

What looks at the machine is turned to the folder, and only in this process: the power sensors, the socket, the service's own
configuration, the board's identity, and the demand for root. The service, its sampling, its protocol: jetson-stats' own.

Prints ``ready PID`` (of the worker that samples) once it serves, and ends with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import grp
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--version-as", help="pretend to be this version of jetson-stats")
    parser.add_argument("--sample-s", type=float, default=0.0, help="let every sample take this long")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    service = turned_to(options.root.resolve())
    if options.version_as:
        service.get_var = lambda _pattern: options.version_as
    if options.sample_s:
        slow_down(options.sample_s)
    serve(service)


def turned_to(root: Path):
    """The module ``jtop.service``, looking at `root`."""
    from jtop import service
    from jtop.core import config, power

    find_i2c, find_supplies = power.find_all_i2c_power_monitor, power.find_all_system_monitor
    power.find_all_i2c_power_monitor = lambda _path: find_i2c(str(root / "sys/bus/i2c/devices"))
    power.find_all_system_monitor = lambda _path: find_supplies(str(root / "sys/class/power_supply"))
    config.get_config_service = lambda *_: str(root / "jtop-config")
    service.get_hardware = lambda: {"Module": "a folder", "L4T": "36.4.3", "Serial Number": "1234567890"}
    service.JTOP_PIPE = str(root / "run/jtop.sock")
    service.JTOP_USER = grp.getgrgid(os.getgid()).gr_name
    return service


def slow_down(seconds: float) -> None:
    """A board whose tools take their time at every sample."""
    from jtop.core.power import PowerService

    quick = PowerService.get_status

    def slow(self):
        time.sleep(seconds)
        return quick(self)

    PowerService.get_status = slow


def serve(service) -> None:
    """As the command ``jtop`` does under systemd."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    real_uid, os.getuid = os.getuid, lambda: 0  # its constructor asks
    server = service.JtopServer(force=True)
    os.getuid = real_uid
    server.start()
    print("ready", server.pid, flush=True)
    try:
        server.join()
    except SystemExit:
        pass
    finally:
        server.close()


if __name__ == "__main__":
    main()

"""``nvpmodel``, ``jetson_clocks``, ``nvidia-smi`` and ``sudo`` as a board has them, with their state in files of a folder.

They behave as the real ones where that matters: only root may change something, and root is who comes through ``sudo``; ``sudo``
without ``-n`` and everything that asks a question waits for an answer on its terminal or stdin; a mode that needs a reboot prints
so, changes nothing, and ends with 0.
"""

from __future__ import annotations

import os
from pathlib import Path

NVPMODEL = """#!/bin/sh
names="0:MAXN 1:MODE_15W 2:MODE_30W 3:MODE_50W"
mode=$(cat "{state}/mode")
case "$1" in
-q) for each in $names; do
    [ "${{each%%:*}}" = "$mode" ] && printf 'NV Power Mode: %s\\n%s\\n' "${{each#*:}}" "$mode"
  done; exit 0;;
-m) ;;
*) echo "NVPM ERROR: bad input!"; exit 1;;
esac
echo "nvpmodel -m $2" >> "{state}/calls"
[ -n "$FAKE_ROOT" ] || [ "$(id -u)" = 0 ] || {{ echo "NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13"; exit 255; }}
[ -e "{state}/broken" ] && {{ echo "NVPM ERROR: failed to set"; exit 0; }}
if [ "$2" = 3 ]; then
  echo "NVPM WARN: Golden image context is already created"
  echo "NVPM WARN: Reboot required for changing to this power mode: $2"
  echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm: "
  read answer || {{ echo "NVPM ERROR: bad input!"; echo "NVPM ERROR: optMask is 1, no request for power mode"; exit 0; }}
fi
echo "$2" > "{state}/mode"
"""
JETSON_CLOCKS = """#!/bin/sh
echo "jetson_clocks $1" >> "{state}/calls"
[ -n "$FAKE_ROOT" ] || [ "$(id -u)" = 0 ] || {{ echo "Error: Please run as root"; exit 1; }}
case "$1" in
--store) [ -e "$2" ] && {{ echo "File $2 already exists. Can I overwrite it? Y/N:"; read answer; }}
  cat "{state}/clocks" > "$2";;
--restore) [ -e "$2" ] || {{ echo "Error: File $2 does not exist"; exit 1; }}; cat "$2" > "{state}/clocks";;
"") [ -e "{state}/clocks_broken" ] && {{ echo "Error: cannot lock"; exit 1; }}; echo locked > "{state}/clocks";;
esac
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] || {{ read password < /dev/tty || sleep 1000; }}
[ -e "{state}/sudo_refuses" ] && {{ echo "sudo: a password is required" >&2; exit 1; }}
shift; [ "$1" = -- ] && shift
FAKE_ROOT=1 exec "$@"
"""
NVIDIA_SMI = """#!/bin/sh
case "$*" in
"--query-gpu=uuid --format=csv,noheader") echo GPU-aaaa; exit 0;;
*query-gpu=persistence_mode*) cat "{state}/persistence"; exit 0;;
*query-gpu=clocks.max.sm*) echo 1980; exit 0;;
esac
echo "nvidia-smi $*" >> "{state}/calls"
[ -n "$FAKE_ROOT" ] || [ "$(id -u)" = 0 ] || {{ echo "The current user does not have permission to change clocks"; exit 4; }}
case "$3" in
-pm) [ "$4" = 1 ] && echo Enabled > "{state}/persistence" || echo Disabled > "{state}/persistence";;
-lgc) [ -e "{state}/no_lock" ] && {{ echo "Setting locked GPU clocks is not supported for GPU 0."; exit 0; }}
  echo "$4" > "{state}/clocks";;
-rgc) echo free > "{state}/clocks";;
esac
"""


class FakePrograms:
    """The programs in ``bin``, their state in ``state``."""

    def __init__(self, folder: Path, names=("nvpmodel", "jetson_clocks", "sudo")) -> None:
        self.bin, self.state = folder / "bin", folder / "state"
        self.bin.mkdir()
        self.state.mkdir()
        texts = {"nvpmodel": NVPMODEL, "jetson_clocks": JETSON_CLOCKS, "sudo": SUDO, "nvidia-smi": NVIDIA_SMI}
        for name in names:
            (self.bin / name).write_text(texts[name].format(state=self.state))
            (self.bin / name).chmod(0o755)
        self.mode, self.clocks, self.persistence = "2", "free", "Disabled"

    @property
    def path(self) -> str:
        return f"{self.bin}:{os.environ['PATH']}"

    @property
    def calls(self):
        """What was changed, in order."""
        file = self.state / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def break_(self, what: str) -> None:
        (self.state / what).touch()

    def mend(self, what: str) -> None:
        (self.state / what).unlink()


def _file(name):
    def get(self):
        return (self.state / name).read_text().strip()

    def put(self, text):
        (self.state / name).write_text(text + "\n")

    return property(get, put)


for _name in ("mode", "clocks", "persistence"):
    setattr(FakePrograms, _name, _file(_name))

"""The command `ebbench`, also as `python -m ebbench`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Load the command line and run it."""
    _open_closed_streams()
    try:
        from ebbench.cli import main as run
    except KeyboardInterrupt:  # so early that nothing has begun
        print("ebbench: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


def _open_closed_streams() -> None:
    """Make /dev/null of each standard stream that is closed (``2>&-``): the next file of ours would take its number, and hold
    what a measured command says there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free: this one


if __name__ == "__main__":
    main()

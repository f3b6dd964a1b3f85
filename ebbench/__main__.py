"""The command `ebbench`, also as `python -m ebbench`."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from ebbench.cli import main as run
    except KeyboardInterrupt:  # so early that nothing has begun
        print("ebbench: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

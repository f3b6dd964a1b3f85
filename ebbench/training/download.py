"""``python -m ebbench.training.download cifar10 data``: fetch a dataset into a folder, on purpose and by its own command."""

from __future__ import annotations

import sys

from ebbench.errors import EXIT_USER
from ebbench.training.compat import import_torchvision_datasets

KNOWN = ("cifar10", "cifar100")


def main(arguments: list[str]) -> int:
    """Download with torchvision, which checks the archive's hash."""
    if len(arguments) != 2 or arguments[0] not in KNOWN:
        print(f"usage: python -m ebbench.training.download {'|'.join(KNOWN)} FOLDER", file=sys.stderr)
        return EXIT_USER
    getattr(import_torchvision_datasets(), arguments[0].upper())(arguments[1], download=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

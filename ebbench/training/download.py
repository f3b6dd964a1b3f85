"""``python -m ebbench.training.download cifar10 data``: fetch a dataset into a folder, on purpose and by its own command."""

from __future__ import annotations

import sys

from ebbench.errors import EXIT_USER, EbbenchError
from ebbench.training.compat import import_torchvision_datasets

KNOWN = ("cifar10", "cifar100")


def main(arguments: list[str]) -> int:
    """Download with torchvision, which checks the archive's hash."""
    if len(arguments) != 2 or arguments[0] not in KNOWN:
        print(f"usage: python -m ebbench.training.download {'|'.join(KNOWN)} FOLDER", file=sys.stderr)
        return EXIT_USER
    name, folder = arguments
    try:
        getattr(import_torchvision_datasets(), name.upper())(folder, download=True)
    except (
        EbbenchError,
        OSError,
        RuntimeError,
    ) as error:  # no torchvision; no network, no room; an archive with another hash
        print(f"ebbench: cannot fetch {name} into {folder}: {error}", file=sys.stderr)
        return EXIT_USER
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

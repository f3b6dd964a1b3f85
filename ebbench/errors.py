"""What can go wrong, by who can mend it.

::

    EbbenchError
    ├── UserError           2   the user's to fix: a wrong name, value, file or combination
    │   ├── ConfigError         in an experiment, bench file or option
    │   └── InputError          in data or a trace handed to us
    ├── DeviceError         3   the meter's, the board's or the disk's
    │   ├── MeterError          cannot be opened, read or trusted
    │   └── DiskError           full, read-only or gone
    └── ResultError         1   the program worked, the result falls short
        └── RunFailed           the run ended without a usable result (a loss that is NaN)

The number is the exit code of the command line. Every message is one line that says what is wrong, where,
and what to do. Any other exception is our own bug: exit code 70.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import re
from typing import Iterable, Iterator, List, Optional, Sequence

EXIT_OK = 0
EXIT_SHORT = 1
EXIT_USER = 2
EXIT_DEVICE = 3
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

#: up to so many names are listed beside the one that was meant
FEW_NAMES = 20
#: a path that cannot be what it is to be, on any disk: a folder that is a file or lies below one, a name that no disk takes
_WRONG_PATH = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


def printable(text: str) -> str:
    r"""`text` without what could steer a terminal or break a line: such signs are written out, as in ``\x1b`` and ``\n``."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class EbbenchError(Exception):
    """Base of every error with a message for the user; `exit_code` is the command line's.

    Whatever a file or an instrument put into it, the message is one printable line.
    """

    exit_code = EXIT_BUG

    def __str__(self) -> str:
        return printable(super().__str__())


class UserError(EbbenchError):
    """Something the user can fix before trying again."""

    exit_code = EXIT_USER


class ConfigError(UserError):
    """Wrong names or values in an experiment, a bench file or an option: one fault, or several that are said in one line."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults: Sequence[str] = faults


class InputError(UserError):
    """Data or a trace handed to us is not what it should be."""


class DeviceError(EbbenchError):
    """A meter, a board or a disk does not do its part."""

    exit_code = EXIT_DEVICE


class MeterError(DeviceError):
    """A meter cannot be opened, read or trusted."""


class DiskError(DeviceError):
    """The disk is full, read-only or gone."""


def not_written(error: OSError, message: str) -> EbbenchError:
    """What to raise where a file or a folder could not be written: the user's fault where the path is wrong, else the disk's."""
    return (UserError if error.errno in _WRONG_PATH else DiskError)(message)


class ResultError(EbbenchError):
    """The program worked and the result falls short."""

    exit_code = EXIT_SHORT


class RunFailed(ResultError):
    """The run ended without a usable result; what was measured is kept."""


class Faults:
    """Gathers what the user has to fix, so that all of it is said at once and each fault once::

    faults = Faults()
    for setting in settings:
        with faults.gathered(f"{path}: "):
            check(setting)
    faults.refuse()
    """

    def __init__(self) -> None:
        self.found: List[str] = []

    @contextlib.contextmanager
    def gathered(self, where: str = "") -> Iterator[None]:
        """Keep a UserError of the block, `where` in front of each of its faults, and go on behind the block."""
        try:
            yield
        except UserError as error:
            self.found += [where + fault for fault in getattr(error, "faults", [str(error)])]

    def refuse(self) -> None:
        """Raise ConfigError with everything that was found, if anything was."""
        if self.found:
            raise ConfigError(*dict.fromkeys(self.found))


def under_name(name: str, message: str) -> str:
    """A meter's message, which begins with what kind of meter it is, under the `name` that the meter has in its bench."""
    return message if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) else f"{name}: {message}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which names exist, the one most like `name` first: "did you mean 'vgg16'? (known: ...)"; of many that one alone."""
    names = sorted(known)
    close = closest(name, names, likeness=0.5)
    all_names = f"known: {', '.join(map(printable, names)) or 'none'}"
    if close is None:
        return all_names
    return f"did you mean {close!r}?" + (f" ({all_names})" if len(names) <= FEW_NAMES else "")


def closest(name: str, known: Iterable[str], likeness: float = 0.75) -> Optional[str]:
    """The known name most like `name`; None where none is so like it (1: the same)."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)

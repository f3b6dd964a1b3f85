"""The command line: parse, call one function, print. No decisions, and nothing heavy imported before it is needed."""

from __future__ import annotations

import codecs
import errno
import io
import signal
import sys
import tempfile
import traceback
from typing import Any, NoReturn, Optional, Sequence

import click

from ebbench import __version__
from ebbench.cli.calibrating import calibrate
from ebbench.cli.commands import Commands
from ebbench.cli.machine import boards, doctor, meters
from ebbench.cli.measuring import mark, measure
from ebbench.cli.remote import remote_agent
from ebbench.cli.results import check, export, integrate, report
from ebbench.cli.running import experiments, run
from ebbench.cli.said import say
from ebbench.cli.work import flops
from ebbench.errors import EXIT_BUG, EXIT_DEVICE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USER, EbbenchError, printable

#: how the signs that we print look where the terminal's encoding lacks them
_PLAIN = {"±": "+-", "–": "-", "×": "x", "µ": "u", "…": "..."}
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
#: a path that was typed and cannot be one, on any disk
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ebbench")
def cli() -> None:
    """What does it cost, in joules, to train this network this way on this board?

    \b
    ebbench run                     the quickstart: dense training against EB Train
    ebbench report runs             its tables, figures and page
    ebbench measure -- COMMAND      the energy of any program
    ebbench doctor                  what is missing on this machine to measure well
    """


for _command in (
    run,
    measure,
    mark,
    report,
    check,
    integrate,
    export,
    flops,
    experiments,
    meters,
    boards,
    doctor,
    calibrate,
):
    cli.add_command(_command)
cli.add_command(remote_agent)


def main(arguments: Optional[Sequence[str]] = None) -> NoReturn:
    """Run the command line and leave with its exit code: every error is one line on stderr, never a traceback."""
    if sys.platform == "win32":
        say("Windows is not supported: ebbench needs Linux (on macOS the simulated meter alone)")
        sys.exit(EXIT_USER)
    signal.signal(signal.SIGTERM, _as_interrupt)
    _print_in_any_encoding()
    sys.exit(_run(arguments))


def _print_in_any_encoding() -> None:
    codecs.register_error("ebbench-plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ebbench-plain")


def _plain(error: Any) -> Any:
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _as_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(arguments: Optional[Sequence[str]]) -> int:
    try:
        code = cli.main(args=None if arguments is None else list(arguments), prog_name="ebbench", standalone_mode=False)
        return code if isinstance(code, int) else EXIT_OK
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "ebbench"
        say(f"{' '.join(error.format_message().split())} (see {where} --help)")
        return EXIT_USER
    except click.ClickException as error:
        say(error.format_message())
        return EXIT_USER
    except EbbenchError as error:
        say(str(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        for number in (signal.SIGINT, signal.SIGTERM):  # we are leaving already
            signal.signal(number, signal.SIG_IGN)
        say("interrupted; what was measured is kept, and `ebbench run ... --resume` goes on with a run")
        return EXIT_INTERRUPTED
    except SystemExit:  # click and rich leave like this when nobody reads on, as in `ebbench boards | head -1`
        return EXIT_OK
    except Exception as error:  # noqa: BLE001 - the last resort: the user gets a line, we get the traceback
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            say(f"{error.filename or 'the disk'}: {error.strerror}; make room, then go on with --resume")
            return EXIT_DEVICE
        if isinstance(error, OSError) and error.errno in _NO_PATH:
            say(f"{printable(str(error.filename))}: {error.strerror}; give another path")
            return EXIT_USER
        say(f"a fault of ebbench itself: {type(error).__name__}: {error}; please report it with {_keep_traceback()}")
        return EXIT_BUG


def _keep_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="ebbench-", suffix=".log", delete=False) as handle:
        handle.write(traceback.format_exc())
    return handle.name

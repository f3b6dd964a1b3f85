"""``ebbench measure`` and ``ebbench mark``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Optional, Tuple

import click

from ebbench.cli.typed import Typed

_STDERR = 2


@click.command(cls=Typed, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--meter", "meters", multiple=True, help="Meter name or URI; repeat for several.  [default: auto]")
@click.option("--bench", "bench_file", type=click.Path(path_type=Path), help="TOML file of the bench, for its meters.")
@click.option("--board", help="Board name, or auto.  [default: auto]")
@click.option("--rate", "rate_hz", type=float, help="Readings per second.  [default: the meter's own]")
@click.option(
    "--max-gap",
    "max_gap_s",
    type=float,
    help="Longest interval between readings that is interpolated (s).  [default: the longer of 1 and ten median intervals]",
)
@click.option("--power-mode", help="Power mode of the board meanwhile, by number or name; put back afterwards.")
@click.option("--lock-clocks", is_flag=True, help="Clocks at their greatest meanwhile; put back afterwards.")
@click.option("--no-calibration", is_flag=True, help="Take the meters as they describe themselves.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: a new one under runs/]")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="The record as one JSON document on stdout; COMMAND's output goes to stderr.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def measure(
    meters: Tuple[str, ...],
    bench_file: Optional[Path],
    board: Optional[str],
    rate_hz: Optional[float],
    max_gap_s: Optional[float],
    power_mode: Optional[str],
    lock_clocks: bool,
    no_calibration: bool,
    out: Optional[Path],
    as_json: bool,
    command: Tuple[str, ...],
) -> int:
    """Measure the energy of any program. Its exit code is passed on.

    COMMAND has stdout for itself: the energies stand on stderr, and in the run
    folder.

    \b
    ebbench measure -- python train.py
    ebbench measure -- ./simulate input.txt | sort
    ebbench measure --meter sim -- sh -c 'ebbench mark begin load; make; ebbench mark end load'
    """
    from ebbench.cli.display import print_measurement
    from ebbench.measuring.command import measure as measure_command
    from ebbench.measuring.monitor import EnergyMonitor

    monitor = EnergyMonitor(
        meters or None, out, bench=bench_file, board=board, rate_hz=rate_hz, max_gap_s=max_gap_s,
        power_mode=power_mode, lock_clocks=lock_clocks or None,
        calibration=False if no_calibration else None,
    )  # fmt: skip
    code = measure_command(command, monitor, stdout=_STDERR if as_json else None)
    assert monitor.record is not None, "the block has ended"
    with contextlib.suppress(SystemExit, BrokenPipeError):  # nobody reads on, as in `ebbench measure -- yes | head -1`
        if as_json:
            click.echo(json.dumps(monitor.record.to_json(), allow_nan=False))
        else:
            with contextlib.suppress(OSError), contextlib.redirect_stdout(sys.stderr):
                print_measurement(monitor.record, monitor.rundir.path)
    return code


@click.command()
@click.argument("action", type=click.Choice(["begin", "end"]))
@click.argument("name")
def mark(action: str, name: str) -> None:
    """Begin or end a phase from inside `ebbench measure`. NAME may hold slashes: load/unpack.

    \b
    ebbench mark begin load
    ebbench mark end load
    """
    from ebbench.measuring.mark import mark_edge

    mark_edge(action, name)

"""``ebbench meters``, ``boards`` and ``doctor``: what is on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

import click

from ebbench.cli.commands import Commands
from ebbench.cli.typed import Typed
from ebbench.errors import EXIT_OK, EXIT_SHORT

if TYPE_CHECKING:
    from ebbench.protocols import Board


@click.group(cls=Commands, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def meters(context: click.Context, as_json: bool) -> None:
    """List the meters, or try one.

    Those that are here come first. The last line says which one `auto` takes.

    \b
    ebbench meters
    ebbench meters sample ina3221 --seconds 5 --rate 100
    """
    if context.invoked_subcommand:
        return
    from ebbench.cli.display import print_table
    from ebbench.plugins import survey
    from ebbench.protocols import STATED

    found = survey()
    if as_json:
        click.echo(json.dumps(found))
        return
    listed = sorted(found["meters"], key=lambda m: (not m["available"], not m["present"], m["scope"] == STATED))
    rows = [[m["name"], "yes" if m["available"] else "no", m["scope"], m["reason"]] for m in listed]
    print_table(["meter", "here", "scope", "why"], rows)
    takes = {None: "nothing (no meter here; `ebbench doctor` says what to do)", "sim": "sim, in the quickstart only"}
    click.echo(f"auto takes: {takes.get(found['auto'], found['auto'])}")


@meters.command(cls=Typed)
@click.argument("name", required=False)
@click.option("--seconds", type=float, default=5.0, show_default=True, help="How long it is read.")
@click.option("--rate", "rate_hz", type=float, help="Readings per second.  [default: the meter's own]")
@click.option("--board", help="Board name, or auto.  [default: auto]")
@click.option(
    "--bench", "bench_file", type=click.Path(path_type=Path), help="TOML file of a bench; NAME is one of its."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def sample(
    name: Optional[str],
    seconds: float,
    rate_hz: Optional[float],
    board: Optional[str],
    bench_file: Optional[Path],
    as_json: bool,
) -> None:
    """Read the meter NAME for a while and show what it gives. With --bench and no NAME: each meter of the bench in turn.

    It is shown as the meter says it: no calibration is applied.

    \b
    ebbench meters sample sim --seconds 3
    ebbench meters sample --bench desk.toml
    """
    from ebbench.meter_trials.bench import meters_of

    if bench_file is None:
        if name is None:
            raise click.UsageError("name a meter, or give --bench FILE")
        found = _sample(name, seconds, rate_hz, board or "auto", as_json)
        if as_json:
            click.echo(json.dumps(found, allow_nan=False))
        return
    bench, refs = meters_of(bench_file, name)
    all_found = []
    for ref in refs:
        found = _sample(ref, seconds, rate_hz or bench.rate_hz, board or bench.board, as_json, ref.called)
        all_found.append({**found, "meter": ref.called})
    if as_json:
        click.echo(json.dumps(all_found[0] if name else {"meters": all_found}, allow_nan=False))


def _sample(
    name: Any, seconds: float, rate_hz: Optional[float], board: str, as_json: bool, called: Optional[str] = None
) -> Dict[str, Any]:
    """Sample one meter, and show it while that goes on and at the end unless it is to be JSON; what was found."""
    from ebbench.cli.watching import Watch
    from ebbench.meter_trials.sampling import sample as sample_meter

    if as_json:
        return sample_meter(name, seconds, rate_hz, board)
    with Watch(seconds) as watch:
        found = sample_meter(name, seconds, rate_hz, board, watch.look if watch.is_shown else None)
    _print_sample({**found, "meter": called or found["meter"]})
    for line in watch.whole():
        click.echo(line)
    return found


def _print_sample(found: Dict[str, Any]) -> None:
    from ebbench.cli.display import print_table

    rows = [
        [rail, *(_watts(values[key]) for key in ("mean_w", "min_w", "max_w")), str(values["readings"])]
        for rail, values in found["rails"].items()
    ]
    print_table(["rail", "mean W", "min W", "max W", "readings"], rows)
    simulated = " (simulated)" if found.get("simulated") else ""
    click.echo(f"{found['meter']}{simulated}: {found['rate_hz']:.4g} readings/s, {found['missed']} missed")


def _watts(value: Optional[float]) -> str:
    return "–" if value is None else f"{value:.3f}"


@click.command()
@click.argument("name", required=False)
@click.option(
    "--restore", "is_restore", is_flag=True, help="Put back what a run that was cut off changed on this board."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def boards(name: Optional[str], is_restore: bool, as_json: bool) -> None:
    """List the known boards, or show one.

    The last line says which one this is. NAME shows what is known of one board (auto: this one).

    \b
    ebbench boards
    ebbench boards agx-orin
    ebbench boards --restore
    """
    from ebbench.cli.display import print_table
    from ebbench.doctor import board_finding
    from ebbench.plugins import boards as known_boards
    from ebbench.plugins import choose_board

    if is_restore:
        _restore(as_json)
        return
    known, here = known_boards(), choose_board("auto")
    shown = [_chosen(name)] if name else list(known.values())
    if as_json:
        listed = [{"name": b.name, "title": b.title, **b.facts} for b in shown]
        click.echo(json.dumps({"boards": listed, "this": here.name if here else None}))
        return
    if name:
        _print_board(shown[0].facts, is_here=here is not None and here.name == shown[0].name)
        return
    rows = [[b.name, b.title, " + ".join(b.facts.get("total", [])) or "–"] for b in known.values()]
    print_table(["board", "what it is", "total"], rows)
    found = board_finding(here)
    said = found["found"] if here else f"none of them ({found['found']})"
    click.echo(f"this machine: {said}" + (f"; name it: {found['advice']}" if found["advice"] else ""))


def _restore(as_json: bool) -> None:
    from ebbench.board.restore import restore_now
    from ebbench.plugins import CONTROLS, registered

    found = restore_now(registered(CONTROLS))
    if as_json:
        click.echo(json.dumps({"restored": found}))
    elif found is None:
        click.echo("nothing to put back: no run left this board changed")
    else:
        click.echo("put back: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items()))


def _chosen(name: str) -> Board:
    from ebbench.errors import ConfigError
    from ebbench.plugins import choose_board

    board = choose_board(name)
    if board is None:
        raise ConfigError("this machine is none of the known boards; name one (`ebbench boards` lists them)")
    return board


def _print_board(facts: Mapping[str, Any], is_here: bool) -> None:
    """One board: what it measures where, and its power modes; this machine's own list of modes where this is the board."""
    from ebbench.cli.display import print_table
    from ebbench.environment import power_mode, power_modes

    click.echo(f"{facts['title']} ({facts['name']}){': this machine' if is_here else ''}")
    click.echo(f"total: {' + '.join(facts['total']) or 'none: it has no power monitor'} (scope {facts['scope']})")
    if facts.get("devkit_total"):
        click.echo(f"dev kit: {' + '.join(facts['devkit_total'])}")
    columns = ("name", "scope", "inside_of", "sensor", "chip", "channel", "shunt_ohm", "note")
    rows = [[_cell(rail.get(column)) for column in columns] for rail in facts.get("rails", [])]
    print_table(["rail", "scope", "inside of", "sensor", "chip", "channel", "shunt (ohm)", "note"], rows)
    own = power_modes() if is_here else {}
    modes, source = own or facts.get("power_modes", {}), "its nvpmodel.conf" if own else facts.get("power_modes_of")
    if modes:
        now = power_mode() if is_here else None
        click.echo(f"power modes ({source}){f', now {now}' if now else ''}:")
        for number, name in modes.items():
            click.echo(f"  {number} {name}")


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


@click.command()
@click.option(
    "--bench", "bench_file", type=click.Path(path_type=Path), help="TOML file of a bench: look at its meters."
)
@click.option("--strict", is_flag=True, help="Exit code 1 where something fails.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(bench_file: Optional[Path], strict: bool, as_json: bool) -> int:
    """Say what is missing here to measure well. Below each finding stands what mends it.

    It says which meter `auto` takes, too, and how good that is: it is read for a moment.

    \b
    ebbench doctor
    ebbench doctor --bench desk.toml
    """
    from ebbench.cli.display import print_findings
    from ebbench.doctor import diagnose
    from ebbench.meter_trials.bench import bench_findings

    findings = bench_findings(bench_file) if bench_file else diagnose()
    if as_json:
        click.echo(json.dumps({"findings": findings}))
    else:
        print_findings(findings)
    return EXIT_SHORT if strict and any(f["verdict"] == "fail" for f in findings) else EXIT_OK

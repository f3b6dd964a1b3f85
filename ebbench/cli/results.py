"""``ebbench report``, ``check``, ``integrate`` and ``export``: what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import click
from click.core import ParameterSource

from ebbench.cli.said import say
from ebbench.cli.typed import Typed

_PATH = click.Path(path_type=Path)
#: options of `integrate` that say what a table of readings holds
_OF_A_TRACE = ("time_column", "time_unit", "columns", "gain_ratio", "resolution_w")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_PATH)
@click.option(
    "--table",
    "tables",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Number of the paper's table; repeat for several.  [default: those with runs]",
)
@click.option("--figure", "figures", multiple=True, help="Name of a figure; repeat for several.  [default: all]")
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("md,csv,tex,html,png,svg",),
    show_default=True,
    help="Of md,csv,tex,html,png,svg,pdf, with commas between; may be repeated.",
)
@click.option("--out", type=_PATH, default=Path("report"), show_default=True, help="Where the report goes.")
@click.option("--kind", default="html", show_default=True, help="Which report; others come from plug-ins.")
@click.option("--strict", is_flag=True, help="Leave with 1 if a run failed or has a FAIL verdict.")
@click.option(
    "--compare-paper",
    is_flag=True,
    help="In each cell of the paper's tables: ours, the published value, and the difference.",
)
@click.option("--json", "as_json", is_flag=True, help="The files written, as one JSON document on stdout.")
def report(runs: Tuple[Path, ...], out: Path, kind: str, strict: bool, as_json: bool, **options: Any) -> int:
    """Render tables, figures and one HTML page. RUNS are run folders, or folders of them.

    \b
    ebbench report runs --out report
    ebbench report runs/eb-ff-* runs/dense-* --format html,pdf
    ebbench report runs --table 2 --compare-paper
    """
    from ebbench import plugins

    renderer = plugins.load(plugins.REPORTS, kind)()
    options["formats"] = [f.strip() for f in ",".join(options["formats"]).split(",") if f.strip()]
    written = [Path(path) for path in renderer.render(runs, out, options)]
    failing = getattr(renderer, "failing", None)
    if as_json:
        click.echo(json.dumps({"files": [str(path) for path in written], "failing": failing}))
    else:
        page = next((f"; open {path}" for path in written if path.name == "index.html"), "")
        click.echo(f"{len(written)} file{'s' if len(written) != 1 else ''} in {out}{page}")
    if strict and failing is None:
        raise click.UsageError(f"--strict: the report {kind!r} does not say which runs failed; use `ebbench check`")
    return 1 if strict and failing else 0


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def check(runs: Tuple[Path, ...], as_json: bool) -> int:
    """Show the verdict of runs, check by check.

    RUNS are run folders, or folders of them. Their raw files are compared with what was sealed. Leaves with 1 if a verdict is
    FAIL.

    \b
    ebbench check runs
    ebbench check runs/eb-ff-vgg16-*
    """
    from ebbench.cli.display import print_checks
    from ebbench.errors import Faults
    from ebbench.records import FAIL
    from ebbench.rundir import runs_in
    from ebbench.sealing.as_sealed import compared
    from ebbench.sealing.record import load_record
    from ebbench.sharing.taken import checked_again

    records, faults = [], Faults()
    for run in (run for path in runs for run in runs_in(path)):
        with faults.gathered():
            records.append(compared(run, checked_again(run, load_record(run))))
    if as_json:
        listed = [{k: r.to_json()[k] for k in ("run_id", "status", "kind", "verdict", "checks")} for r in records]
        click.echo(json.dumps({"runs": listed}))
    else:
        for record in records:
            print_checks(record)
    faults.refuse()
    return 1 if any(r.verdict == FAIL or r.status != "success" for r in records) else 0


@click.command(cls=Typed)
@click.argument("run", required=False, type=_PATH)
@click.option("--trace", type=_PATH, help="CSV, Parquet or Arrow file of readings, instead of a run folder.")
@click.option("--phases", type=_PATH, help="CSV with phase,start_s,end_s.")
@click.option(
    "--max-gap",
    "max_gap_s",
    type=float,
    help="Longest interval between readings that is interpolated (s).  [default: the run's, else the longer of 1 and ten median "
    "intervals]",
)
@click.option(
    "--unit-energies",
    help="Estimate a simulated arithmetic's energy from this table: a name, or a file that ends in .toml.",
)
@click.option("--time-column", default="time_s", show_default=True, help="With --trace: the column of the times.")
@click.option(
    "--time-unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    default="s",
    show_default=True,
    help="With --trace: the unit of the times.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    help="With --trace: NAME=RAIL:UNIT, such as power_mw=VDD_IN:mW; repeat for several. Units: W mW uW kW, J mJ uJ kJ, Wh mWh kWh, "
    "V mV, A mA.  [default: columns named RAIL_w, RAIL_j, RAIL_v, RAIL_a]",
)
@click.option(
    "--gain",
    "gain_ratio",
    type=float,
    help="With --trace: standard uncertainty of the meter's gain (0.01 is 1 %).  [default: not known]",
)
@click.option(
    "--resolution",
    "resolution_w",
    type=float,
    help="With --trace: one step of the meter's reading (W).  [default: not known]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def integrate(
    run: Optional[Path],
    trace: Optional[Path],
    phases: Optional[Path],
    max_gap_s: Optional[float],
    unit_energies: Optional[str],
    as_json: bool,
    **options: Any,
) -> None:
    """Integrate a run again, or any trace over any phases. A run gets a new record; the sealed one stays.

    \b
    ebbench integrate runs/eb-ff-vgg16-...
    ebbench integrate runs/eb-ll-vgg16-... --unit-energies paper-calibrated
    ebbench integrate --trace T.csv --phases P.csv --json
    """
    if (run is None) == (trace is None) or (trace is None) != (phases is None):
        raise click.UsageError("give either a run folder, or --trace FILE with --phases FILE")
    if run is not None:
        _refuse_options_of_a_trace()
        _integrate_run(run, max_gap_s, unit_energies, as_json)
        return
    if unit_energies is not None:
        raise click.UsageError("--unit-energies is for a run folder: a trace is integrated, not estimated")
    from ebbench.cli.display import print_integral
    from ebbench.energy.tables import integrate_tables

    assert trace is not None and phases is not None, "checked above"
    document = integrate_tables(trace, phases, max_gap_s=max_gap_s, columns=_columns(options.pop("columns")), **options)
    if "damage" in document:
        say(f"{document['damage']}; only what comes before is integrated")
    if as_json:
        click.echo(json.dumps(document, allow_nan=False))
    else:
        print_integral(document)


def _refuse_options_of_a_trace() -> None:
    """A run's manifest says what its traces hold; what is typed beside it would do nothing."""
    context = click.get_current_context()
    for each in context.command.params:
        if each.name in _OF_A_TRACE and context.get_parameter_source(each.name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{each.opts[0]} is for --trace: what the traces of a run hold stands in the run")


def _integrate_run(run: Path, max_gap_s: Optional[float], units: Optional[str], as_json: bool) -> None:
    from ebbench.cli.display import print_measurement
    from ebbench.energy.estimate import unit_energies
    from ebbench.rundir import RunDir
    from ebbench.sealing.record import integrate_again

    record, path = integrate_again(RunDir(run), max_gap_s, None if units is None else unit_energies(units))
    if as_json:
        click.echo(json.dumps(record.to_json(), allow_nan=False))
    else:
        print_measurement(record, path)


def _columns(texts: Tuple[str, ...]) -> Dict[str, Tuple[str, str]]:
    """``NAME=RAIL:UNIT`` as {NAME: (RAIL, UNIT)}."""
    columns = {}
    for text in texts:
        name, equals, target = text.partition("=")
        rail, colon, unit = target.rpartition(":")
        if not (name and equals and rail and colon and unit):
            raise click.BadParameter(
                f"{text!r} is not NAME=RAIL:UNIT, such as power_mw=VDD_IN:mW", param_hint="--column"
            )
        columns[name] = (rail, unit)
    return columns


@click.command()
@click.argument("run", type=_PATH)
@click.option(
    "--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="Of the files."
)
@click.option("--out", type=_PATH, help="Folder to write to.  [default: RUN/export]")
@click.option("--json", "as_json", is_flag=True, help="The files written, as one JSON document on stdout.")
def export(run: Path, kind: str, out: Optional[Path], as_json: bool) -> None:
    """Write a run's traces and phases as CSV or Parquet. `ebbench integrate --trace --phases` reads them.

    Readings are as they were read: the record also takes the meter's averaging, its delay and its calibration into account.

    \b
    ebbench export runs/eb-ff-vgg16-... --format parquet
    """
    from ebbench.energy.export import export_run
    from ebbench.rundir import EXPORT, RunDir

    written = [str(path) for path in export_run(RunDir(run), out or run / EXPORT, kind, say)]
    click.echo(json.dumps({"files": written}) if as_json else "\n".join(written))

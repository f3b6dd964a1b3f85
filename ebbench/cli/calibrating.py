"""``ebbench calibrate``."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional

import click

from ebbench.cli.typed import Typed


@click.command(cls=Typed)
@click.argument("meter")
@click.option(
    "--against", help="A reference meter (name or URI) that measures the same power and states its uncertainty."
)
@click.option(
    "--seconds",
    type=float,
    default=60.0,
    show_default=True,
    help="How long the load is switched on and off; longer for a slow or noisy meter.",
)
@click.option("--rate", "rate_hz", type=float, help="Readings per second.  [default: the meter's own]")
@click.option("--board", default="auto", show_default=True, help="Board name, or auto.")
@click.option("--device", default="auto", show_default=True, help="What the load runs on: cpu, cuda, cuda:N or auto.")
@click.option("--dry-run", is_flag=True, help="Show what is found and keep nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def calibrate(meter: str, device: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Find out how METER follows a known load. Every run on this machine uses it from then on.

    \b
    ebbench calibrate ina3221
    ebbench calibrate ina3221 --against 'scpi:TCPIP::10.0.0.5::INSTR?scope=module&gain_u=0.001&offset_u_w=0.01'
    """
    from ebbench.calibration.calibrate import calibrate as calibrate_meter
    from ebbench.training.device import choose_device, gpu_faults
    from ebbench.training.load import Load

    chosen = choose_device(device)
    with gpu_faults():
        found = calibrate_meter(
            meter, work=Load(chosen).run, device_uuid=chosen.uuid, synchronize=chosen.synchronize, keep=not dry_run,
            say=lambda line: click.echo(line, err=True), **options,
        )  # fmt: skip
    if as_json:
        path = str(found.path) if found.path else None
        click.echo(json.dumps({"calibration": found.document, "path": path}, allow_nan=False))
        return
    _print(found.document)
    click.echo(f"kept in {found.path}; every run on this machine uses it" if found.path else "nothing was kept")


def _print(document: Dict[str, Any]) -> None:
    from ebbench.cli.display import print_table

    headers = ["rail", "idle W", "load W", "delay ms", "width ms", "noise W", "step W", "renewed ms"]
    print_table(headers, [row for name, fit in document["rails"].items() for row in _rows(name, fit)])
    comparison = document["comparison"]
    if comparison is None:
        click.echo("gain and offset: not compared (--against METER)")
        return
    click.echo(
        f"power = {comparison['gain_correction']:.5f} x reading {comparison['offset_correction_w']:+.4f} W, from "
        f"{comparison['low_w']:.4g} to {comparison['high_w']:.4g} W"
    )
    click.echo(
        f"known to {200 * comparison['gain_u']:.2g} % and {2 * comparison['offset_u_w']:.2g} W (k = 2), of it the reference's "
        f"{200 * comparison['reference_gain_u']:.2g} % and {2 * comparison['reference_offset_u_w']:.2g} W"
    )
    if not document["corrects_readings"]:
        click.echo("its total is no single rail without a counter: this is recorded, and readings are not corrected")


def _rows(name: str, fit: Dict[str, Any]) -> Iterator[List[str]]:
    """Of a rail its power, and its counter, whose noise and steps are not looked for."""
    levels = [_number(fit["idle_w"]), _number(fit["load_w"])]
    if fit["response"]:
        period_s = fit["update_period_s"]
        own = [_number(fit["idle_noise_w"], "{:.2g}"), _number(fit["resolution_w"], "{:.2g}")]
        renewed = _number(period_s and period_s * 1e3, "{:.3g}")
        yield [name, *levels, *_response(fit["response"]), *own, renewed]
    if fit["counter"]:
        yield [f"{name} (counter)", *levels, *_response(fit["counter"]), *[_number(None)] * 3]


def _response(fitted: Dict[str, Any]) -> List[str]:
    """Delay and width with k = 2."""
    width = f"{fitted['width_s'] * 1e3:.3g} ± {2 * fitted['width_u_s'] * 1e3:.1g} ({fitted['model']})"
    if not fitted["width_s"]:
        width = f"under {2 * fitted['width_u_s'] * 1e3:.1g}"
    return [f"{fitted['delay_s'] * 1e3:.3g} ± {2 * fitted['delay_u_s'] * 1e3:.1g}", width]


def _number(value: Optional[float], form: str = "{:.4g}") -> str:
    return "–" if value is None else form.format(value)

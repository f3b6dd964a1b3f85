"""Conducts one run: manifest, samplers, idle, pipeline, amplified blocks, idle, record.

What happens in which order is here and nowhere else; how each step is done is in the modules it calls.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ebbench import plugins
from ebbench.board.change import changed
from ebbench.board.state_log import StateLog
from ebbench.calibration import store as calibration_store
from ebbench.config import Bench, Recipe, run_id
from ebbench.context import Display, SessionContext, Silent, read_checkpoint
from ebbench.energy.account.run_meter import infos_of
from ebbench.energy.alignment.clocks import chip_for
from ebbench.energy.alignment.signature import pattern
from ebbench.energy.estimate import UnitEnergies, unit_energies
from ebbench.energy.phases import read_events
from ebbench.energy.recording import Recording
from ebbench.environment import hottest_c
from ebbench.errors import ConfigError, DeviceError, EbbenchError, Faults, ResultError
from ebbench.manifest import new_manifest, refuse_other_rails, refuse_other_run
from ebbench.protocols import Board, BoardChange, Lending, MeterRequest, Outcome
from ebbench.records import RunRecord
from ebbench.repeated_draws import amplify
from ebbench.room import Room, recorded_needs
from ebbench.rundir import RunDir, read_json, write_json
from ebbench.sealing.record import load_record, seal
from ebbench.sharing.lending import lending_of, refuse_other_meters
from ebbench.sharing.offered import lending_from
from ebbench.training.device import Device, choose_device, gpu_faults, peak_memory_bytes, reset_peak_memory
from ebbench.training.draws import kept_name
from ebbench.training.signature import play
from ebbench.training.warmup import warm_up
from ebbench.unbegun import clear, forgotten_unless_begun, has_begun

COOLDOWN_PATIENCE_S, COOLDOWN_LOOK_S = 1800.0, 5.0


@dataclass(frozen=True)
class Setup:
    """What a run needs besides its recipe, found once before anything is written."""

    device: Device
    board: Optional[Board]
    meters: List[Tuple[str, str, MeterRequest]]
    change: Optional[BoardChange] = None


@dataclass(frozen=True)
class _Run:
    """One run that is conducted here."""

    rundir: RunDir
    recipe: Recipe
    bench: Bench
    setup: Setup
    pipeline: Any
    display: Display


def conduct(
    recipe: Recipe,
    bench: Bench,
    out: Path,
    *,
    may_simulate: bool = False,
    resume: bool = False,
    display: Optional[Display] = None,
    among: Sequence[Recipe] = (),
    offered: Optional[Path] = None,
) -> RunRecord:
    """Run `recipe` on `bench` in the folder ``out/<run id>`` and return its sealed record.

    `among` are the recipes of its experiment: with those that begin with the same training it is done once
    (`ebbench.sharing.lending`). On a board its laptop knows of these, and says in the file `offered` what is shared. A run that
    is sealed already is returned as it is. One that did not end is continued with `resume`, and refused without. Raises UserError
    before anything is written, and leaves no folder where no phase was begun; a run that fails is sealed with its reason; a run
    that is interrupted (Ctrl-C, a full disk) is left so that `resume` can go on with it.
    """
    display = display or Silent()
    rundir = RunDir(Path(out) / run_id(recipe, bench))
    if rundir.is_sealed:
        display.say(f"{rundir.path} is measured already and kept as it is")
        return load_record(rundir)
    if has_begun(rundir) and not resume:
        rundir.refuse_anew()
    pipeline = plugins.load(plugins.PIPELINES, recipe.method)(recipe)
    pipeline.check()
    is_simulated = getattr(pipeline, "is_simulated", False)
    units = unit_energies(bench.unit_energies) if is_simulated else None
    setup = find_setup(bench, may_simulate, display.say)
    if hasattr(pipeline, "check_device"):
        pipeline.check_device(setup.device.name)
    run = _Run(rundir, recipe, bench, setup, pipeline, display)
    rundir.create()
    with contextlib.closing(rundir.lock()), forgotten_unless_begun(rundir, rundir.log):
        clear(rundir)  # what a start that was killed before its first phase left
        if not _has_stopped(rundir):  # looked at once more when the meters are open
            Room(rundir).check_before(_stored_by(pipeline))
        _write_manifest(run, units)
        lending = (
            lending_of(recipe, bench, rundir, among, display.say)
            if offered is None
            else lending_from(offered, recipe, rundir, display.say)
        )
        if not _has_stopped(rundir):
            recording = Recording(rundir, _meters(run), synchronize=setup.device.synchronize)
            with changed(setup.change, rundir.board, display.say), StateLog(
                rundir.board, plugins.registered(plugins.STATES), setup.device.uuid
            ):
                _record(run, recording, lending)
        return seal(rundir)


def find_setup(bench: Bench, may_simulate: bool, say: Callable[[str], None]) -> Setup:
    """Choose device, board and meters. Raises ConfigError with every name that is unknown, MeterError where no meter is here."""
    faults = Faults()
    device, board = choose_device("cpu"), None
    with faults.gathered():
        device = choose_device(bench.device)
    with faults.gathered():
        board = plugins.choose_board(bench.board)
    with faults.gathered():
        may_simulate = may_simulate or bool(faults.found)
        meters = (
            [] if bench.is_unmetered else plugins.choose_meters(bench.meters, board, device.uuid, may_simulate, say)
        )
    faults.refuse()
    if bench.calibration:
        calibration_store.check(board, meters)
    change = plugins.choose_control(bench.power_mode, bench.lock_clocks, device.uuid)
    return Setup(device, board, meters, change)


def _has_stopped(rundir: RunDir) -> bool:
    """Whether the run came to its end and was killed while it was sealed: then nothing is to be measured any more."""
    events = read_events(rundir.phases)
    return bool(events) and events[-1]["event"] == "stop" and events[-1]["status"] != "aborted"


def _meters(run: _Run) -> List[Tuple[str, str, MeterRequest, Optional[float]]]:
    """The meters as the recording wants them; each is told where the phases are logged."""
    phases, rate_hz = str(run.rundir.phases.resolve()), run.bench.rate_hz
    return [(name, factory, dataclasses.replace(r, phases=phases), rate_hz) for name, factory, r in run.setup.meters]


def _write_manifest(run: _Run, units: Optional[UnitEnergies]) -> None:
    """Write everything that is needed to interpret the data, before there are any; a resumed run must match its own.

    `units`: where the energy will be estimated, from what.
    """
    rundir, used = run.rundir, run.setup.device
    device = {"name": used.name, "title": used.title, "uuid": used.uuid}
    manifest = new_manifest(rundir.path.name, run.recipe, run.bench, run.setup.board, device=device)
    if units is not None:
        manifest["unit_energies"] = units.to_json()
    if rundir.manifest.exists():
        old = read_json(rundir.manifest)
        refuse_other_run(rundir, old, manifest)
        manifest = old
    write_json(rundir.manifest, manifest)


def _describe_meters(run: _Run, recording: Recording) -> None:
    """Add to the manifest what the opened meters say about themselves; a resumed run must have the same rails."""
    rundir, bench, setup = run.rundir, run.bench, run.setup
    manifest = read_json(rundir.manifest)
    infos = plugins.described(recording.infos, setup.meters, bench.meters)
    calibration_store.add_to(infos, recording.infos, setup.meters, setup.board, bench.calibration)
    refuse_other_rails(rundir, manifest["meters"], infos)
    if not manifest["meters"]:
        manifest["meters"] = infos
        write_json(rundir.manifest, manifest)
    recording.know(infos_of(manifest))


def _record(run: _Run, recording: Recording, lending: Lending) -> None:
    """From the first reading to the last. Whatever happens, the samplers are stopped and what was measured is on the disk."""
    rundir, bench, display = run.rundir, run.bench, run.display
    found = read_checkpoint(rundir.checkpoint)
    status, reason = "aborted", None
    recording.open(restored=found[1]["taken"] if found else None)
    for line in recording.slow_meters:
        display.say(line)
    try:
        stored = {**_stored_by(run.pipeline), **_kept_by(run.pipeline, lending)}
        Room(rundir).check_before({**stored, **recorded_needs(recording.bytes_per_s)})
        _describe_meters(run, recording)
        if found is None:
            refuse_other_meters(rundir, lending)
        context = SessionContext(
            rundir,
            recording,
            device=run.setup.device.name,
            checkpoint_s=run.recipe.checkpoint_s,
            display=display,
            lending=lending,
        )
        _cool_down(bench.cooldown_c, context, display)
        chip_s = chip_for(recording.infos, bench.rate_hz, bench.signature_s, bench.signature_least_s)
        with gpu_faults():
            _measure(run, context, chip_s)
        status = "success"
    except ResultError as error:  # the run failed: it is sealed with its reason
        status, reason = "failed", str(error)
        display.say(str(error))
    except BaseException as error:
        reason = str(error) if isinstance(error, EbbenchError) else type(error).__name__
        _log(rundir, traceback.format_exc())
        raise
    finally:
        recording.stop(status, reason)


def _measure(run: _Run, context: SessionContext, chip_s: float) -> None:
    """The pipeline with all that is measured around it, in this order."""
    bench = run.bench
    _rest(context, bench.idle_s)
    _sign(context, chip_s)
    _warm_up(context, run.recipe, bench.warmup_s)
    reset_peak_memory(context.device)
    outcome: Outcome = run.pipeline.run(context)
    context.mark("outcome", **_outcome_values(outcome, context.device))
    if outcome.repeat_draw is not None and bench.amplify_s > 0:
        amplify(context, outcome.repeat_draw, bench.amplify_s)
    _rest(context, bench.idle_s)
    _sign(context, chip_s)


def _stored_by(pipeline: Any) -> Dict[str, int]:
    """What the pipeline will store; nothing is known of one that does not say."""
    return dict(getattr(pipeline, "stored_bytes", {}))


def _kept_by(pipeline: Any, lending: Lending) -> Dict[str, int]:
    """What is kept for other runs: at most a checkpoint for each way to draw."""
    ways = len({kept_name(recipe) for recipe in lending.wanted})
    return {"networks for other runs": ways * _stored_by(pipeline).get("two checkpoints", 0) // 2}


def _outcome_values(outcome: Outcome, device: str) -> Dict[str, Any]:
    return {
        "accuracy": outcome.accuracy,
        "flops": outcome.flops,
        "ticket": outcome.ticket,
        "draw_cost": outcome.draw_cost,
        "notes": outcome.notes,
        "work": outcome.work,
        "peak_memory_bytes": peak_memory_bytes(device),
    }


def _rest(context: SessionContext, seconds: float) -> None:
    """Do nothing for `seconds` in the phase ``idle``."""
    if seconds <= 0:
        return
    with context.phase("idle"):
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(0.25, left_s))
            context.progress(seconds - left_s, seconds)


def _warm_up(context: SessionContext, recipe: Recipe, seconds: float) -> None:
    """Work of the same kind for `seconds` in the phase ``warmup``; nothing of it reaches the run."""
    if seconds > 0:
        with context.phase("warmup"):
            warm_up(recipe, context.device, seconds, lambda done_s: context.progress(done_s, seconds))


def _sign(context: SessionContext, chip_s: float) -> None:
    """Show the meters a known pattern of work in the phase ``warmup``, and then rest until they have read all of it."""
    if chip_s > 0:
        with context.phase("warmup"):
            played = play(pattern(), chip_s, context.device, lambda done: context.progress(done, 1.0))
            context.mark("signature", **played)
        time.sleep(2 * chip_s)


def _cool_down(limit_c: Optional[float], context: SessionContext, display: Display) -> None:
    """Wait until the warmest sensor shows at most `limit_c`; the temperature at the start is kept as a mark either way."""
    warmest_c = hottest_c()
    if limit_c is not None:
        if warmest_c is None:
            raise ConfigError("--cooldown: this machine shows no temperature sensor; leave the option out")
        deadline_s = time.monotonic() + COOLDOWN_PATIENCE_S
        while warmest_c > limit_c:
            if time.monotonic() > deadline_s:
                raise DeviceError(
                    f"--cooldown {limit_c:g}: still {warmest_c:.1f} degrees after half an hour; allow more"
                )
            display.say(f"cooling down: {warmest_c:.1f} degrees, waiting for {limit_c:g}")
            time.sleep(COOLDOWN_LOOK_S)
            warmest_c = hottest_c() or warmest_c
    context.mark("start_temperature", celsius=warmest_c)


def _log(rundir: RunDir, text: str) -> None:
    with contextlib.suppress(OSError), open(
        rundir.log, "a", encoding="utf-8"
    ) as handle:  # a full disk must not hide the first error
        handle.write(text.rstrip() + "\n")

"""Finds meters, boards, pipelines, experiments and reports by entry point; built-in ones come through the same door."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ebbench.environment import below_root, device_tree, is_jetson, l4t_release
from ebbench.errors import ConfigError, EbbenchError, MeterError, closest, nearest, under_name
from ebbench.meter_ref import OWN_KEYS, MeterRef, Named, refs_of, together_faults
from ebbench.protocols import Availability, Board, BoardChange, MeterInfo, MeterRequest

METERS = "ebbench.meters"
BOARDS = "ebbench.boards"
PIPELINES = "ebbench.pipelines"
EXPERIMENTS = "ebbench.experiments"
REPORTS = "ebbench.reports"
STATES = "ebbench.states"
CONTROLS = "ebbench.controls"

#: newer Jetsons have nvidia-smi too, but their clocks are nvpmodel's
PREFERRED_CONTROL = "nvpmodel"
#: the order in which `auto` looks for a real meter; names that are not registered are passed over
AUTO_ORDER = ("ina3221", "jtop", "tegrastats", "nvml", "rapl")
#: of these, what may be closed without stopping the quickstart: most PCs have one, and only root may read it
#: (docs/decisions/0010-a-closed-rapl-does-not-stop-the-quickstart.md)
MAY_STAY_CLOSED = ("rapl",)
SIMULATED = "sim"

#: what is said of a meter that was looked for
KEYS = ("name", "available", "present", "scope", "simulated", "reason")

#: a chosen meter: its name, the path of its class, and what it is told
Choice = Tuple[str, str, MeterRequest]


def registered(group: str) -> Dict[str, str]:
    """The object paths (``package.module:name``) registered in `group`, by name."""
    if sys.version_info >= (3, 10):
        points = list(metadata.entry_points(group=group))
    else:  # Python 3.8 and 3.9 return a plain dict of lists
        points = list(metadata.entry_points().get(group, []))
    return {point.name: point.value for point in points}


def load(group: str, name: str) -> Any:
    """The object registered as `name`; the nearest known name is offered when there is none."""
    known = registered(group)
    if name not in known:
        kind = "method" if group == PIPELINES else group.rpartition(".")[2][:-1]
        raise ConfigError(f"unknown {kind} {name!r}; {nearest(name, known)}")
    return resolve(known[name])


def resolve(path: str) -> Any:
    """Import the object at ``package.module:name``, or the module at ``package.module``."""
    module, _, name = path.partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, name) if name else loaded


def boards() -> Dict[str, Board]:
    """All known boards by name, those from outside included."""
    found: Dict[str, Board] = {}
    for path in registered(BOARDS).values():
        found.update({board.name: board for board in resolve(path)()})
    return found


def experiments() -> Dict[str, Path]:
    """The TOML files of all registered experiment packages, by name."""
    found: Dict[str, Path] = {}
    for path in registered(EXPERIMENTS).values():
        folder = Path(resolve(path).__file__).parent
        found.update({file.stem: file for file in sorted(folder.glob("*.toml"))})
    return found


def choose_board(name: str = "auto") -> Optional[Board]:
    """The board called `name`, or with ``auto`` the one that this machine says it is; None where it is no known board.

    A Jetson whose device tree is masked (some containers) is None too: its meter then asks for ``--board`` if it must.
    """
    known = boards()
    if name == "auto":
        return identify(known.values(), *device_tree()) or _by_files(known.values())
    if name not in known:
        raise ConfigError(f"unknown board {name!r}; {nearest(name, ['auto', *known])}")
    return known[name]


def identify(known: Iterable[Board], model: Optional[str], compatible: Sequence[str]) -> Optional[Board]:
    """The board whose `model` or `compatible` strings occur in the device tree's; the longest such string decides."""
    matches: List[Tuple[int, str, Board]] = []
    for board in known:
        texts = [(part, (model or "").lower()) for part in board.facts.get("model", [])]
        texts += [(part, text.lower()) for part in board.facts.get("compatible", []) for text in compatible]
        matches += [(len(part), board.name, board) for part, text in texts if part.lower() in text]
    return max(matches, key=lambda match: match[:2])[2] if matches else None


def _by_files(known: Iterable[Board]) -> Optional[Board]:
    """The board all of whose `files` are there, for machines without a device tree; never for a Jetson of an unknown kind."""
    if is_jetson():
        return None
    candidates = [board for board in known if board.facts.get("files")]
    return next((b for b in candidates if all(below_root(file).exists() for file in b.facts["files"])), None)


def _keep_quiet(line: str) -> None:
    """Nobody asked."""


def choose_meters(
    refs: Sequence[Named],
    board: Optional[Board],
    device_uuid: Optional[str] = None,
    may_simulate: bool = False,
    say: Callable[[str], None] = _keep_quiet,
) -> List[Choice]:
    """The meters named by `refs`, the reference first, with ``auto`` resolved and every meter's options looked at.

    `say` gets a line where a real meter is here but closed, and one is simulated in its place.
    Raises ConfigError with all faults of the names and options, MeterError where `auto` finds no meter or one that cannot be read.
    """
    known = registered(METERS)
    chosen: List[Choice] = []
    faults: List[str] = []
    for ref in refs_of(refs):
        if ref.name == "auto" and (ref.address or ref.options):
            faults.append("meter 'auto' has no address and no options; name the meter")
        elif ref.name not in ("auto", *known):
            faults.append(f"unknown meter {ref.name!r}; {nearest(ref.name, ['auto', *known])}")
        else:
            name = ref.name if ref.name != "auto" else _auto(known, board, device_uuid, may_simulate, say)
            chosen.append((ref.alias or name, known[name], _request(board, device_uuid, ref)))
            faults += _option_faults(*chosen[-1])
    faults += together_faults([name for name, _, _ in chosen])
    if faults:
        raise ConfigError(*faults)
    return chosen


def _option_faults(name: str, factory: str, request: MeterRequest) -> List[str]:
    """What the meter's class says of its address and options, before anything is opened or written."""
    try:
        resolve(factory)(request)
    except ConfigError as error:
        own = [key for option in request.options if (key := closest(option, OWN_KEYS))]
        hint = f" (the bench itself knows {' and '.join(repr(key) for key in own)})" if own else ""
        return [under_name(name, str(error)) + hint]
    except (ImportError, AttributeError) as error:
        raise MeterError(f"meter {name!r} cannot be loaded from {factory}: {error}; reinstall its package") from error
    return []


def described(infos: Sequence[MeterInfo], chosen: Sequence[Choice], refs: Sequence[Named]) -> List[Dict[str, Any]]:
    """What the manifest says of the opened meters: of each what its readings mean, and how it was named and connected.

    `chosen` is what `choose_meters` made of `refs`. Options are kept as they are: a secret is only ever the name of a variable.
    """
    return [
        {
            **info.to_json(),
            "name": name,
            "type": info.name,
            "reference": number == 0,
            "address": ref.address,
            "options": dict(ref.options),
            "wiring": ref.wiring,
        }
        for number, (info, (name, _, _), ref) in enumerate(zip(infos, chosen, refs_of(refs)))
    ]


def _request(board: Optional[Board], device_uuid: Optional[str], ref: Optional[MeterRef] = None) -> MeterRequest:
    facts: Optional[Mapping[str, Any]] = dict(board.facts) if board else None
    return MeterRequest(ref.address if ref else None, dict(ref.options) if ref else {}, facts, device_uuid)


def _auto(
    known: Mapping[str, str],
    board: Optional[Board],
    device_uuid: Optional[str],
    may_simulate: bool,
    say: Callable[[str], None] = _keep_quiet,
) -> str:
    """The first meter of the order that can be used. Never a simulated one where a real one that matters needs mending."""
    blocked: Dict[str, str] = {}
    for name in AUTO_ORDER:
        if name not in known:
            continue
        there = probe(known[name], _request(board, device_uuid))
        if there.available:
            return name
        if there.present:
            blocked[name] = there.reason if there.reason.startswith(f"{name}: ") else f"{name}: {there.reason}"
    nameless = ""
    if board is None and is_jetson():
        nameless = f". This Jetson (L4T {l4t_release() or 'unknown'}) does not say what board it is: give --board too"
    may_simulate = may_simulate and SIMULATED in known and all(name in MAY_STAY_CLOSED for name in blocked)
    if blocked and not may_simulate:
        raise MeterError(
            f"a meter is here but cannot be read: {'; '.join(blocked.values())}; mend that, or name one with --meter{nameless}"
        )
    for reason in blocked.values():
        say(f"SIMULATED, although a real meter is here: {reason}")
    if may_simulate:
        return SIMULATED
    raise MeterError(
        "no meter found on this machine; name one with --meter, or EnergyMonitor(meter=...) "
        f"(`ebbench meters` lists them, sim simulates){nameless}"
    )


def probe(path: str, request: MeterRequest) -> Availability:
    """What the meter class at `path` finds here; one that cannot even be imported is not available, with the reason."""
    try:
        found: Availability = resolve(path).probe(request)
    except (ImportError, AttributeError, EbbenchError, OSError) as error:
        return Availability(False, False, f"{path} cannot be used: {error}", "unknown")
    return found


def choose_control(power_mode: Optional[str], lock_clocks: bool, device_uuid: Optional[str]) -> Optional[BoardChange]:
    """What is to be changed on this machine and by whom; None where nothing is asked for.

    Raises ConfigError where this machine cannot do it; nothing is changed yet.
    """
    if power_mode is None and not lock_clocks:
        return None
    known = registered(CONTROLS)
    for name in sorted(known, key=lambda name: (name != PREFERRED_CONTROL, name)):
        control = resolve(known[name])
        if control.probe():
            control(device_uuid).check(power_mode, lock_clocks)
            return BoardChange(name, known[name], power_mode, lock_clocks, device_uuid)
    asked = "--power-mode" if power_mode is not None else "--lock-clocks"
    raise ConfigError(f"{asked}: this machine has none of {', '.join(sorted(known))}; leave the option out")


def survey(board: Optional[Board] = None, device_uuid: Optional[str] = None) -> Dict[str, Any]:
    """``{"meters": [{name, available, present, scope, simulated, reason}], "auto": name}``: all registered meters, probed.

    `auto` is what the quickstart would take, None where a real meter is here but must be mended first.
    """
    known = registered(METERS)
    board = board or choose_board()
    request = _request(board, device_uuid)
    rows: List[Dict[str, Any]] = []
    for name in sorted(known):
        there = dataclasses.asdict(probe(known[name], request))
        there["reason"] = there["reason"].replace(f"{name}: ", "", 1)
        rows.append({"name": name, **{key: there[key] for key in KEYS[1:]}})
    try:
        auto: Optional[str] = _auto(known, board, device_uuid, may_simulate=True)
    except MeterError:
        auto = None
    return {"meters": rows, "auto": auto}

"""What the user says about the rails of a meter that writes lines: which there are, which is in which, how good they are."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.errors import ConfigError, nearest
from ebbench.protocols import AVERAGE, INSTANT, Rail
from ebbench_devices.lines.pattern import Quantity
from ebbench_devices.meter.options import SCOPES, Options

#: the options of a URI, which describe one rail
SINGLE = ("pattern", "unit", "rail", "scale", "step")


def tables_of(meter: str, options: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tables of ``rails``, or the one that the options of a URI make."""
    single = [key for key in SINGLE if options.get(key) is not None]
    rails = options.get("rails")
    if rails is None:
        named = {"name" if key == "rail" else key: options[key] for key in single}
        return [named if "rail" in single else {"name": "INPUT", **named}]
    if single:
        raise ConfigError(f"{meter}: {single[0]} and rails are both given; {single[0]} belongs into a table of rails")
    if isinstance(rails, (str, Mapping)) or not isinstance(rails, Sequence) or not rails:
        raise ConfigError(f"{meter}: rails is no list of tables; write [[meters.rails]] tables in the bench file")
    return rails


def rails_of(meter: str, quantities: Sequence[Quantity], options: Options, scope: str) -> Tuple[Rail, ...]:
    """The rails, each as far as the user knows it; what no table says holds for all of them."""
    by_name: Dict[str, List[Quantity]] = {}
    for quantity in quantities:
        by_name.setdefault(quantity.rail, []).append(quantity)
    for name, parts in by_name.items():
        letters = {q.letter for q in parts}
        if not letters & {"w", "j"} and not {"v", "a"} <= letters:
            raise ConfigError(f"{meter}: rail {name} has neither power nor energy, nor both volts and amperes")
    return tuple(_rail(meter, name, by_name, options, scope) for name in by_name)


def _rail(meter: str, name: str, by_name: Mapping[str, Sequence[Quantity]], options: Options, scope: str) -> Rail:
    parts = by_name[name]
    own_scope = next((q.scope for q in parts if q.scope), scope)
    if own_scope not in SCOPES:
        raise ConfigError(f"{meter}: rail {name}: scope = {own_scope!r}; {nearest(str(own_scope), SCOPES)}")
    inside_of = next((q.inside_of for q in parts if q.inside_of), None)
    if inside_of is not None and (inside_of not in by_name or inside_of == name):
        raise ConfigError(
            f"{meter}: rail {name}: inside_of = {inside_of!r} is no other rail; {nearest(str(inside_of), by_name)}"
        )
    lateness = options.lateness()  # nobody but the user knows
    doubts = options.doubts(resolution_w=next((q.step for q in parts if q.letter == "w"), None))
    own = {key: value for q in parts for key, value in q.stated.items()}
    return Rail(
        name,
        own_scope,
        inside_of,
        own.get("gain_u", doubts["gain_ratio"]),
        own.get("offset_u_w", doubts["offset_w"]),
        own.get("resolution_w", doubts["resolution_w"]),
        own.get("range_w", options.number("range_w", above=0.0)),
        AVERAGE if lateness["averaging_s"] else INSTANT,
        **lateness,
    )


def total_of(meter: str, rails: Sequence[Rail], stated: Optional[Any]) -> Tuple[str, ...]:
    """The rails whose sum is the total: what is stated, or the only one that is not inside of another."""
    if stated is None:
        outer = [rail.name for rail in rails if rail.inside_of is None]
        if len(outer) > 1:
            raise ConfigError(
                f"{meter}: which of the rails {', '.join(outer)} make up the total is not known; "
                "total = [...], or inside_of for what another rail contains"
            )
        return tuple(outer)
    total = [name for name in (stated.split(",") if isinstance(stated, str) else list(stated)) if name]
    inside_of = {rail.name: rail.inside_of for rail in rails}
    for name in total:
        if name not in inside_of:
            raise ConfigError(f"{meter}: total: no rail {name!r}; {nearest(str(name), inside_of)}")
        if inside_of[name] in total or total.count(name) > 1:
            raise ConfigError(f"{meter}: total counts {name} twice (inside_of = {inside_of[name]!r}); take it out")
    return tuple(total)

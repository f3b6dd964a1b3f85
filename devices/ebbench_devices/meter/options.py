"""The options of a meter's URI, each taken by name and checked, so that all meters ask and refuse in the same words."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Iterable, List, Optional

from ebbench.errors import ConfigError, nearest
from ebbench.protocols import AVERAGE, HOLD, INSTANT, MeterRequest, Rail

SCOPES = ("module", "devkit", "wall", "gpu", "cpu", "rail")
#: what a user may state of any meter that cannot tell it itself: standard uncertainties (k = 1) and one step of a reading
DOUBTS = ("gain_u", "offset_u_w", "resolution_w")
#: the same of when its readings stand for: over how long it averages, and how late it is
LATENESS = ("averaging_s", "delay_s")
_WORDS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


class Options:
    """The options that a request holds, of which only those in `known` may be given. Raises ConfigError, naming the nearest."""

    def __init__(self, meter: str, request: MeterRequest, known: Iterable[str]) -> None:
        self._meter, self._given = meter, request.options
        names = list(known)
        faults = [f"unknown option {key!r}; {nearest(key, names)}" for key in self._given if key not in names]
        if faults:
            raise ConfigError(f"{meter}: {'; '.join(faults)}")

    def text(self, key: str, default: Optional[str] = None) -> Optional[str]:
        """The option as it was written; a number of a bench file as text."""
        value: Any = self._given.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ConfigError(f"{self._meter}: {key} = {value!r} is not a text")
        return str(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """The option as yes or no: true and false of a bench file, 1 and 0 (yes, no, true, false) of a URI."""
        value: Any = self._given.get(key, default)
        word = str(value).lower()
        if isinstance(value, (list, dict)) or word not in _WORDS:
            raise ConfigError(f"{self._meter}: {key} = {value!r} is neither 1 nor 0")
        return _WORDS[word]

    def number(
        self, key: str, default: Optional[float] = None, *, above: float = -math.inf, at_least: float = -math.inf
    ) -> Optional[float]:
        """The option as a finite number, above the one limit and not below the other."""
        given: Any = self._given.get(key)
        if given is None:
            return default
        try:
            value = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"{self._meter}: {key} = {given!r} is not a number")
        if not (value > above and value >= at_least):
            limit = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
            raise ConfigError(f"{self._meter}: {key} = {given} must be {limit}")
        return value

    def choice(self, key: str, choices: Iterable[str], default: Optional[str] = None) -> Optional[str]:
        """The option as one of `choices`."""
        value, names = self.text(key, default), list(choices)
        if value is not None and value not in names:
            raise ConfigError(f"{self._meter}: {key} = {value!r}; {nearest(str(value), names)}")
        return value

    def stated_scope(self) -> str:
        """What the power includes. Nobody but the user knows where an external meter sits, so it must be stated."""
        if self._given.get("scope") is None:
            raise ConfigError(
                f"{self._meter}: say what it measures: scope=wall (at the socket), scope=devkit (the board's DC input) "
                "or scope=module, as in NAME:ADDRESS?scope=wall"
            )
        scope = self.choice("scope", SCOPES)
        assert scope is not None
        return scope

    def doubts(self, **known: Optional[float]) -> Dict[str, Optional[float]]:
        """`gain_ratio`, `offset_w` and `resolution_w` of a `Rail`: what the user stated, else what the meter's file `known`."""
        fields: List[str] = ["gain_ratio", "offset_w", "resolution_w"]
        stated = [self.number(key, at_least=0.0) for key in DOUBTS]
        return {field: known.get(field) if value is None else value for field, value in zip(fields, stated)}

    def lateness(self, averaging_s: Optional[float] = None) -> Dict[str, Optional[float]]:
        """`averaging_s` and `delay_s` of a `Rail` as the user stated them, of its power and of its counter; else what is known."""
        stated = {key: self.number(key, at_least=0.0) for key in LATENESS}
        power_s = averaging_s if stated["averaging_s"] is None else stated["averaging_s"]
        counter = {f"counter_{key}": value for key, value in stated.items()}
        return {"averaging_s": power_s, "delay_s": stated["delay_s"], **counter}

    def applied(self, rail: Rail) -> Rail:
        """The rail with what the user states in the place of what the meter knows (`DOUBTS` and `LATENESS`)."""
        lateness = {key: value for key, value in self.lateness().items() if value is not None}
        doubts = self.doubts(gain_ratio=rail.gain_ratio, offset_w=rail.offset_w, resolution_w=rail.resolution_w)
        kind = rail.kind
        if "averaging_s" in lateness and kind != HOLD:
            kind = AVERAGE if lateness["averaging_s"] else INSTANT
        return dataclasses.replace(rail, kind=kind, **doubts, **lateness)

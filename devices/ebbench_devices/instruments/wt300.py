"""The dialect of Yokogawa's WT300 family (WT310, WT310HC, WT33x and the E models): fixed ranges, and its own integrator.

Commands: IM WT310-17EN and IM WT310E-17EN, as far as they could be confirmed in two public programs that speak them
(github.com/intel/yoko-tool, ``_wt310.py``; github.com/mlcommons/power-dev, ``samplers/yokogawa.py``) and in public copies of
single pages (message format, error queue). Not confirmed on an instrument: how many digits WH has, and the order of the
check-range bits, for which one public driver is the only source.
Accuracy: getting started guides IM WT310-02EN and IM WT310E-02EN, 7.3.2, 12 months, power factor 1; limits, so rectangular.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, Column, Rail
from ebbench_devices.instruments.scpi_answers import OverRange, error_in, is_on, number
from ebbench_devices.instruments.visa import Link
from ebbench_devices.meter.options import Options
from ebbench_devices.meter.untrusted import quoted, shown

OPTIONS = ("voltage_range_v", "current_range_a", "element", "integrator", "update_s")
MODELS = ("WT31", "WT33")
RAIL = "INPUT"
J_PER_WH = 3600.0
#: per reading: power first, then what it is made of
ITEMS = (("P", "W"), ("U", "V"), ("I", "A"), ("WH", ""))
READ = ":NUMeric:NORMal:VALue?;:INPut:CRANge?;:INPut:VOLTage:AUTO?;:INPut:CURRent:AUTO?"
#: bits of :INPut:CRANge? : voltage over range 2, its peak 3; current over range 6, its peak 7
OVER_RANGE = 0b11001100
#: shares of the reading and of the range (limits) at 45 to 66 Hz, and for DC; the high-current models' are for direct input
AC, AC_E, DC, DC_HIGH = (0.001, 0.001), (0.001, 0.0005), (0.001, 0.002), (0.003, 0.002)

#: header, what is sent, what the instrument must then answer
Setting = Tuple[str, str, str]


class Wt300:
    """Fixes the ranges, lets the integrator run, and reads P, U, I and WH with one question."""

    def __init__(self, link: Link, options: Options, model: str, scope: str) -> None:
        self._link, self._options, self._model, self._scope = link, options, model, scope
        self._element = options.choice("element", ("1", "2", "3", "SIGMA"), "1")
        self._integrates = options.choice("integrator", ("on", "off"), "on") == "on"
        self._items = ITEMS if self._integrates else ITEMS[:3]
        self._read = READ + (";:INTEGrate:STATe?" if self._integrates else "")
        self._restarts = False
        self.identity: Dict[str, Any] = {}
        self.update_s: Optional[float] = None
        #: when the last reading of each column was measured (CLOCK_MONOTONIC)
        self.middles_ns: List[int] = []
        self.columns = tuple(Column(f"{RAIL}_{unit}") for unit in ("w", "v", "a", "j")[: len(self._items)])

    def open(self) -> Rail:
        """Set it up, as little as needed, and say what its readings mean. Raises MeterError for every error it reports."""
        for command in ("*CLS", ":COMMunicate:HEADer OFF", ":COMMunicate:VERBose ON", ":COMMunicate:REMote ON"):
            self._set(command)
        was_auto = {name: is_on(self._link.ask(f":INPut:{name}:AUTO?")) for name in ("VOLTage", "CURRent")}
        self._apply(
            self._range("VOLTage", "voltage_range_v", was_auto) + self._range("CURRent", "current_range_a", was_auto)
        )
        self.update_s = self._update_period_s()
        volts, amperes = (self._number(f":INPut:{name}:RANGe?") for name in ("VOLTage", "CURRent"))
        self._choose_items()
        scaled = is_on(self._link.ask(":INPut:SCALing:STATe?"))
        self.identity.update(
            voltage_range_v=volts,
            current_range_a=amperes,
            automatic_before=was_auto,
            update_s=self.update_s,
            scaled=scaled,
        )
        doubts = {} if scaled else self._accuracy(volts * amperes)
        return Rail(
            RAIL,
            self._scope,
            **self._options.doubts(**doubts),  # type: ignore[arg-type]
            range_w=None if scaled else volts * amperes,
            kind=AVERAGE,
            update_period_s=self.update_s,
            averaging_s=self.update_s,
        )

    def read(self) -> Sequence[Optional[float]]:
        """W, V, A, J. Raises MeterError where the power is not known, a range was left or the integrator has stopped."""
        values, over, *automatic = self._parts(self._link.ask(self._read))
        self.middles_ns = [self._link.middle_ns] * len(self.columns)
        if not over.isdigit():
            raise MeterError(f"scpi: {quoted(over)} are no range flags; the instrument and its answers are out of step")
        if any(is_on(answer) for answer in automatic[:2]):
            raise MeterError("scpi: the instrument left its fixed range (its protection does so); it is set up again")
        texts = values.split(",")
        if len(texts) != len(self._items):
            raise MeterError(
                f"scpi: {quoted(values)} are not {len(self._items)} values; its items were changed meanwhile"
            )
        try:
            if int(over) & OVER_RANGE:
                raise OverRange(f"scpi: over range, or the peaks are: {self._advice()}")
            found = [number(text, unit) for text, (_, unit) in zip(texts, self._items)]
        except OverRange:
            self._restarts = self._integrates  # what it integrates now is wrong, and must not join what was before
            raise
        if found[0] is None:
            raise MeterError("scpi: the instrument has no power to show (NAN); check its wiring and its settings")
        return self._with_energy(found, automatic[2] if self._integrates else "")

    def close(self) -> None:
        """Stop the integrator, if it is ours, and give the keys back."""
        if "integrator" in self.identity:
            self._link.tell(":INTEGrate:STOP")
        self._link.tell(":COMMunicate:REMote OFF")

    def _with_energy(self, found: List[Optional[float]], state: str) -> Sequence[Optional[float]]:
        if not self._integrates:
            return found
        if not state.upper().startswith("STAR"):
            raise MeterError(f"scpi: its integrator stands ({shown(state)}); it is started anew")
        if self._restarts:
            self._start_integrator()
            self._restarts = False
            return (*found[:3], None)
        hours = found[3]
        return (*found[:3], None if hours is None else hours * J_PER_WH)

    def _parts(self, answer: str) -> List[str]:
        parts = [part.strip() for part in answer.split(";")]
        if len(parts) != self._read.count(";") + 1:
            raise MeterError(f"scpi: {quoted(answer)} does not answer {self._read}; the instrument is out of step")
        return parts

    def _range(self, name: str, option: str, was_auto: Dict[str, bool]) -> List[Setting]:
        """A range as stated; without one as it is, which must not be automatic: each change would be a hole, and a jump."""
        stated = self._options.number(option, above=0.0)
        if stated is None:
            if was_auto[name]:
                now = self._link.ask(f":INPut:{name}:RANGe?")
                raise ConfigError(
                    f"scpi: its {name.lower()} range is automatic (now {shown(now)}); fix it with {option}="
                )
            return []
        return [(f":INPut:{name}:AUTO", "OFF", "0"), (f":INPut:{name}:RANGe", f"{stated:g}", f"{stated:g}")]

    def _apply(self, ranges: List[Setting]) -> None:
        """Change what is not as it should be. An integrator that runs and needs no change goes on: it bridges a lost connection."""
        wanted = [
            *ranges,
            (":HOLD", "OFF", "0"),
            (":MEASure:MHOLd", "OFF", "0"),
            (":MEASure:AVERaging:STATe", "OFF", "0"),
        ]
        update_s = self._options.number("update_s", above=0.0)
        if update_s is not None:
            wanted.append((":RATE", f"{update_s * 1000:g}MS", f"{update_s:g}"))
        if self._integrates:
            wanted += [(":INTEGrate:MODE", "NORMal", "NORM"), (":INTEGrate:TIMer", "0,0,0", "0,0,0")]
        changes = [setting for setting in wanted if not self._holds(setting)]
        runs = self._integrates and self._state().startswith("STAR")
        if runs and not changes:
            self.identity["integrator"] = "ran already, goes on"
            return
        if runs:  # settings cannot be changed while it integrates
            self._set(":INTEGrate:STOP")
        for header, value, _ in changes:
            self._set(f"{header} {value}")
        left = [header for header, _, meant in changes if not self._holds((header, "", meant))]
        if left:
            raise MeterError(
                f"scpi: the instrument does not keep {left[0]}; it has {shown(self._link.ask(left[0] + '?'))}"
            )
        if self._integrates:
            self._start_integrator()
            self.identity["integrator"] = "started at 0"

    def _start_integrator(self) -> None:
        for command in ([":INTEGrate:STOP"] if self._state().startswith("STAR") else []) + [":INTEGrate:RESet"]:
            self._set(command)
        self._set(":INTEGrate:STARt")

    def _state(self) -> str:
        return self._link.ask(":INTEGrate:STATe?").upper()

    def _holds(self, setting: Setting) -> bool:
        """Whether a setting is as it should be: the same number, or the same word."""
        header, _, meant = setting
        answer = self._link.ask(f"{header}?").upper()
        answer = {"OFF": "0", "ON": "1"}.get(answer, answer)
        try:
            return abs(float(answer) - float(meant)) <= 1e-6 * abs(float(meant))
        except ValueError:
            return answer.replace(" ", "").startswith(meant)

    def _update_period_s(self) -> float:
        period_s = self._number(":RATE?")
        if not period_s > 0:
            raise ConfigError("scpi: its update period is automatic; fix it with update_s=0.25")
        return period_s

    def _number(self, question: str) -> float:
        answer = self._link.ask(question)
        try:
            return float(answer)
        except ValueError:
            raise MeterError(
                f"scpi: {quoted(answer)} is no answer to {question}; state voltage_range_v=, "
                "current_range_a= and update_s="
            ) from None

    def _choose_items(self) -> None:
        self._set(":NUMeric:FORMat ASCii")
        self._set(f":NUMeric:NORMal:NUMber {len(self._items)}")
        for at, (function, _) in enumerate(self._items, start=1):
            self._set(f":NUMeric:NORMal:ITEM{at} {function},{self._element}")

    def _set(self, command: str) -> None:
        reported = error_in(self._link.ask(f"{command};:STATus:ERRor?"))
        if reported:
            raise MeterError(
                f"scpi: the instrument refuses {command}: {reported}; check the options for this {self._model}"
            )

    def _accuracy(self, range_w: float) -> Dict[str, Optional[float]]:
        """Standard uncertainties from the limits for the mains at a socket, else for DC, which are the wider ones."""
        ac = AC_E if "E" in self._model[2:] else AC
        dc = DC_HIGH if "H" in self._model else DC
        of_reading, of_range = ac if self._scope == "wall" else dc
        return {"gain_ratio": of_reading / 3**0.5, "offset_w": of_range * range_w / 3**0.5}

    def _advice(self) -> str:
        return (
            f"{self.identity.get('voltage_range_v')} V, {self.identity.get('current_range_a')} A are too small; "
            "state a larger current_range_a= (a small supply draws peaks of several times its current)"
        )

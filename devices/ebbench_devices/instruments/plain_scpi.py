"""The dialect of instruments that answer a question with one number: supplies, loads, multimeters (SCPI-1999, MEASure).

Without `query=`, ``MEASure:POWer?`` is tried, and where that is not known the product of ``MEASure:VOLTage?`` and
``MEASure:CURRent?`` is the power, which is right for direct current only.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, INSTANT, Column, Rail
from ebbench_devices.instruments.scpi_answers import OverRange, error_in, number
from ebbench_devices.instruments.visa import Link
from ebbench_devices.meter.options import LATENESS, Options

OPTIONS = ("query", "voltage_query", "current_query", "error_query", "range_w", "update_s", *LATENESS)
RAIL = "INPUT"
POWER, VOLTAGE, CURRENT = "MEAS:POW?", "MEAS:VOLT?", "MEAS:CURR?"
ERRORS = "SYST:ERR?"

#: what is asked for each column: its suffix, its unit, its question
Asked = Tuple[str, str, str]


class PlainScpi:
    """Asks for the power, or for voltage and current; a question per column."""

    def __init__(self, link: Link, options: Options, model: str, scope: str) -> None:
        self._link, self._options, self._scope = link, options, scope
        self._errors: Optional[str] = options.text("error_query", ERRORS)
        self._asked: Tuple[Asked, ...] = ()
        self.identity: Dict[str, Any] = {}
        self.update_s = options.number("update_s", above=0.0)
        self.columns: Tuple[Column, ...] = ()
        #: when the last reading of each column was measured (CLOCK_MONOTONIC)
        self.middles_ns: List[int] = []

    def open(self) -> Rail:
        """Find what it answers. Raises MeterError with the question to state where it answers none."""
        self._clear_errors()
        self._asked = self._find()
        self.columns = tuple(Column(f"{RAIL}_{suffix}") for suffix, _, _ in self._asked)
        self.identity["queries"] = [question for _, _, question in self._asked]
        lateness = self._options.lateness()
        return Rail(
            RAIL,
            self._scope,
            **self._options.doubts(),  # type: ignore[arg-type]
            range_w=self._options.number("range_w", above=0.0),
            kind=AVERAGE if lateness["averaging_s"] else INSTANT,
            update_period_s=self.update_s,
            **lateness,  # type: ignore[arg-type]
        )

    def read(self) -> Sequence[Optional[float]]:
        """W, or V and A. Raises MeterError where one of them is not a number of its unit."""
        values: List[Optional[float]] = []
        self.middles_ns = []
        for _, unit, question in self._asked:
            values.append(number(self._link.ask(question), unit))
            self.middles_ns.append(self._link.middle_ns)
        if None in values:
            raise MeterError("scpi: the instrument has no reading (NAN); check its wiring and that its output is on")
        return values

    def close(self) -> None:
        """Nothing was changed."""

    def _find(self) -> Tuple[Asked, ...]:
        power = self._options.text("query")
        volts, amperes = self._options.text("voltage_query"), self._options.text("current_query")
        if (power and (volts or amperes)) or (volts is None) != (amperes is None):
            raise ConfigError("scpi: state query= for the power, or both voltage_query= and current_query=")
        product: Tuple[Asked, ...] = (("v", "V", volts or VOLTAGE), ("a", "A", amperes or CURRENT))
        if power or volts:
            stated = (("w", "W", power),) if power else product
            fault = self._fault_of(stated)
            if fault is not None:
                raise fault
            return stated
        for tried in ((("w", "W", POWER),), product):
            fault = self._fault_of(tried)
            if fault is None:
                return tried
        raise MeterError(
            f"scpi: it answers neither {POWER} nor {VOLTAGE} and {CURRENT}; state its question, as in query={POWER}"
        )

    def _fault_of(self, asked: Sequence[Asked]) -> Optional[MeterError]:
        """What is wrong with these questions, None where each has a number for an answer and no error was reported."""
        try:
            for _, unit, question in asked:
                try:
                    number(self._link.ask(question), unit)
                except OverRange:
                    continue
                if self._errors:
                    reported = error_in(self._link.ask(self._errors))
                    if reported:
                        return MeterError(f"scpi: the instrument refuses {question}: {reported}; state another query=")
        except MeterError as error:
            self._link.open()  # an instrument that did not understand did not answer: begin anew, in step
            self._clear_errors()
            return error
        return None

    def _clear_errors(self) -> None:
        """Empty its queue of old errors; an instrument without a queue has none to read later either."""
        self._link.tell("*CLS")
        if not self._errors:
            return
        try:
            self._link.ask(self._errors)
        except MeterError:
            self._errors = None
            self.identity["errors"] = "it has no error queue"
            self._link.open()

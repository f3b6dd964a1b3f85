"""A plug with the firmware Tasmota and a metering chip, asked over HTTP: ``tasmota:http://10.0.0.8?scope=wall``.

The command ``Status 10`` (``Status 8`` in old versions) gives ``StatusSNS.ENERGY`` with Power (W), Voltage, Current and Total
(kWh); "Commands" and "JSON Status Responses" at tasmota.github.io/docs. Power comes in whole watts and Total in 0.001 kWh
unless the device is told otherwise (``WattRes 3``, ``EnergyRes 5``): tell it before measuring. The steps are taken from how the
numbers are printed.

The accuracy is that of the plug's chip and of its owner's calibration, so it is unknown until it is stated (``gain_u``). The
energy is counted once a second; the power of chips that send pulses (HLW8012, BL0937) is renewed with them, at a few watts
less than once a second (firmware, ``xnrg_01_hlw8012.ino``): say so with ``update_s``. Which energy counts: see `polled`.

A password travels in the question, in clear text, as the firmware wants it; here it is nowhere but in the environment.
"""

from __future__ import annotations

from urllib.parse import quote

from ebbench.errors import MeterError
from ebbench.units import TO_SI
from ebbench_devices.meter.options import Options
from ebbench_devices.meter.untrusted import number_of, power_of, quoted, step_of
from ebbench_devices.plugs.http_device import HttpDevice
from ebbench_devices.plugs.http_login import password_from
from ebbench_devices.plugs.polled import Document, PolledMeter, Source, Values

#: number of the command, and the name of its answer
STATUSES = ((10, "StatusSNS"), (8, "StatusSNS"), (8, "StatusPWR"))


class TasmotaMeter(PolledMeter):
    """The energy sensor of one device."""

    NAME = "tasmota"

    def find(self, device: HttpDevice, options: Options) -> Source:
        """Which command shows the power, and in which steps."""
        password = password_from(self.NAME, options.text("password_env"))
        who = "" if password is None else f"user={quote(self._user, safe='')}&password={quote(password, safe='')}&"
        for number, name in STATUSES:
            public = f"/cm?cmnd=Status%20{number}"
            path = f"/cm?{who}cmnd=Status%20{number}"
            document = device.get(path, public).document
            self._check(device, document)
            energy = _energy(document, name)
            if "Power" in energy:
                return self._source(path, public, name, energy)
        raise MeterError(
            f"tasmota: {device.address} shows no ENERGY; has the device a metering chip, and is its template set?"
        )

    def _check(self, device: HttpDevice, document: Document) -> None:
        """Old versions answer a wrong password with status 200 and a warning."""
        warning = document.get("WARNING")
        if warning is not None:
            hint = (
                "password_env=NAME and user="
                if self._password_env is None
                else "user= and the variable of password_env"
            )
            raise MeterError(f"tasmota: {device.address} says {quoted(warning)}; check {hint}")

    def _source(self, path: str, public: str, name: str, energy: Document) -> Source:
        if isinstance(energy["Power"], list):
            raise MeterError(
                "tasmota: the device has several channels, which one is the board's cannot be told; use one with one"
            )
        step_kwh = step_of(energy, "Total")

        def values(document: Document) -> Values:
            now = _energy(document, name)
            power_w = power_of("tasmota", now, "Power")
            total_kwh = number_of(now, "Total")
            steps = None if total_kwh is None or step_kwh is None else float(round(total_kwh / step_kwh))
            return power_w, number_of(now, "Voltage"), number_of(now, "Current"), steps

        step_j = None if step_kwh is None else step_kwh * TO_SI["kwh"]
        return Source(path, values, step_j, step_of(energy, "Power"), {"answer": name}, public)


def _energy(document: Document, name: str) -> Document:
    """The readings in an answer; empty where there are none."""
    found = document.get(name)
    if name != "StatusPWR" and isinstance(found, dict):
        found = found.get("ENERGY")
    return found if isinstance(found, dict) else {}

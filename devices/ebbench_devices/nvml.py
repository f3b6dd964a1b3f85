"""An NVIDIA GPU through its driver's library (NVML): power of the GPU, and its energy counter.

Every call is tried before it is believed: on a Jetson the library opens and answers NOT_SUPPORTED to all that matters.
What the power means depends on the GPU: where the driver offers the instantaneous power, that is read; else
``nvmlDeviceGetPowerUsage``, which is the mean of the last second on GPUs newer than GA100 (NVML documentation).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, INSTANT, Availability, Column, MeterInfo, MeterRequest, Rail
from ebbench_devices.meter.options import DOUBTS, Options
from ebbench_devices.nvidia.nvml_library import Absent, bare, load, text_of

OPTIONS = ("index", "uuid", *DOUBTS)
#: NVML's documentation states +-5 % for its power; taken as a rectangular limit
GAIN_RATIO = 0.05 / 3**0.5
#: how often power and counter are updated (public measurements on Volta and newer; it can be measured)
UPDATE_PERIOD_S = 0.1
#: compute capability of GA100, the last chip whose nvmlDeviceGetPowerUsage is instantaneous
GA100 = (8, 0)


class NvmlMeter:
    """One GPU: ``GPU_w`` (mW, where power is supported) and ``GPU_j`` (mJ, where the counter is)."""

    def __init__(self, request: MeterRequest) -> None:
        self._options = options = Options("nvml", request, OPTIONS)
        options.doubts()  # what the user states is checked before the library is loaded
        self._uuid = options.text("uuid") or request.address
        self._index = options.text("index")
        if self._uuid is not None and self._uuid.isdigit():
            self._uuid, self._index = None, self._uuid
        if self._index is not None and not self._index.isdigit():
            raise ConfigError(f"nvml: index = {self._index!r} is not a number; nvml?index=0 is the first GPU")
        if self._uuid is None and self._index is None:
            self._uuid = request.device_uuid
        self._nvml: Any = None
        self._calls: List[Callable[[], int]] = []

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Open, read once and close again. `present` where there is a GPU whose power can be read, or could be."""
        meter = cls(request)
        simulated = is_simulated_root()
        try:
            info = meter.open()
            meter.read()
        except Absent as error:
            return Availability(False, False, str(error), "gpu", simulated)
        except MeterError as error:
            return Availability(False, True, str(error), "gpu", simulated)
        finally:
            meter.close()
        columns = ", ".join(column.name for column in info.columns)
        return Availability(True, True, f"{info.identity['gpu']}: {columns}", "gpu", simulated)

    def open(self) -> MeterInfo:
        """Find the GPU and try its calls. Raises MeterError where there is none, or several and no choice."""
        self._nvml = load()
        try:
            handle = self._choose()
            columns, kind, power_from = self._try_calls(handle)
            identity = self._identity(handle)
        except self._nvml.NVMLError as error:
            self.close()
            raise MeterError(f"nvml: {error}; check nvidia-smi") from error
        except MeterError:
            self.close()
            raise
        averaging_s = 1.0 if kind == AVERAGE else 0.0
        rail = self._options.applied(
            Rail(
                "GPU", "gpu", gain_ratio=GAIN_RATIO, kind=kind, update_period_s=UPDATE_PERIOD_S, averaging_s=averaging_s
            )
        )
        identity["power_from"] = power_from
        return MeterInfo("nvml", "gpu", is_simulated_root(), (rail,), tuple(columns), ("GPU",), 20.0, None, identity)

    def _choose(self) -> Any:
        """The GPU by UUID, by index, or the only one."""
        nvml = self._nvml
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        if not handles:
            raise Absent("NVML finds no GPU")
        uuids = [text_of(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        names = ", ".join(
            f"{i} {text_of(nvml.nvmlDeviceGetName(h))} {u}" for i, (h, u) in enumerate(zip(handles, uuids))
        )
        if self._uuid is not None:
            match = [h for h, u in zip(handles, uuids) if bare(u) == bare(self._uuid)]
            if not match:
                raise MeterError(
                    f"nvml: no GPU has the UUID {self._uuid} (a part of a split GPU has one of its own; nvml?index=N is the "
                    f"whole); these are here: {names}"
                )
            return match[0]
        if self._index is not None:
            if int(self._index) >= len(handles):
                raise MeterError(f"nvml: there is no GPU {self._index}; these are here: {names}")
            return handles[int(self._index)]
        if len(handles) > 1:
            raise MeterError(f"nvml: several GPUs, choose one with --meter nvml?index=N; these are here: {names}")
        return handles[0]

    def _try_calls(self, handle: Any) -> Any:
        """Which columns this GPU has, what its power stands for, and the call that gives it."""
        nvml = self._nvml
        columns: List[Column] = []
        kind, power_from = INSTANT, None
        self._calls = []
        for name, call in (("instant", self._instant(handle)), ("usage", lambda: nvml.nvmlDeviceGetPowerUsage(handle))):
            if call is None or not self._works(call):
                continue
            self._calls.append(call)
            columns.append(Column("GPU_w", 1e-3, raw=True))
            power_from = name
            if name == "usage" and self._capability(handle) > GA100:
                kind = AVERAGE
            break
        if self._works(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle)):
            self._calls.append(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            columns.append(Column("GPU_j", 1e-3, raw=True))
        if not columns:
            name = text_of(nvml.nvmlDeviceGetName(handle))
            raise Absent(f"nvml: {name} supports neither power nor energy (a Jetson's GPU does not); use its ina3221")
        return columns, kind, power_from

    def _works(self, call: Callable[[], int]) -> bool:
        try:
            call()
        except self._nvml.NVMLError:
            return False
        return True

    def _instant(self, handle: Any) -> Optional[Callable[[], int]]:
        """Reads the instantaneous power (mW) of the GPU itself; None in a library too old to know it."""
        nvml = self._nvml
        field = getattr(nvml, "NVML_FI_DEV_POWER_INSTANT", None)
        if field is None:
            return None
        scoped = (field, getattr(nvml, "NVML_POWER_SCOPE_GPU", 0))

        def read() -> int:
            value = nvml.nvmlDeviceGetFieldValues(handle, [scoped])[0]
            if value.nvmlReturn != nvml.NVML_SUCCESS:
                raise nvml.NVMLError(value.nvmlReturn)
            return int(value.value.uiVal)

        return read

    def _capability(self, handle: Any) -> tuple:
        try:
            return tuple(self._nvml.nvmlDeviceGetCudaComputeCapability(handle))
        except self._nvml.NVMLError:
            return GA100  # older than the call: instantaneous

    def _identity(self, handle: Any) -> Dict[str, Any]:
        nvml = self._nvml
        return {
            "gpu": text_of(nvml.nvmlDeviceGetName(handle)),
            "uuid": text_of(nvml.nvmlDeviceGetUUID(handle)),
            "driver": text_of(nvml.nvmlSystemGetDriverVersion()),
            "compute_capability": list(self._capability(handle)),
        }

    def read(self) -> Sequence[Optional[float]]:
        """Power (mW) and energy (mJ) as integers, None where a call failed. Raises MeterError when all did."""
        values: List[Optional[float]] = []
        reason = "nvml is not open"
        for call in self._calls:
            try:
                values.append(call())
            except self._nvml.NVMLError as error:
                values.append(None)
                reason = f"nvml: {error}; check nvidia-smi"
        if all(value is None for value in values):
            raise MeterError(reason)
        return values

    def close(self) -> None:
        """Let go of the library; a second time does nothing."""
        self._calls = []
        if self._nvml is not None:
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError:
                pass  # it was not initialised, or the driver is gone: nothing is left to release
            self._nvml = None

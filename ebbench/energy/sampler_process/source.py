"""A meter as the sampler uses it: it may fail, and come back."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Optional, Sequence, TypeVar

from ebbench.errors import EbbenchError, MeterError
from ebbench.protocols import MeterInfo, MeterRequest
from ebbench.units import NS_PER_S

#: how often a meter that fails is opened again
RETRY_NS = NS_PER_S

Answer = TypeVar("Answer")


class Source:
    """A meter that is opened again every second while it fails; a failure is a note, never an invented value."""

    def __init__(self, factory: Callable[[MeterRequest], Any], request: MeterRequest) -> None:
        self._factory, self._request = factory, request
        self._meter: Any = factory(request)
        self.info: MeterInfo = self._meter.open()
        self.is_streamed = hasattr(self._meter, "drain")
        self.is_files = hasattr(self._meter, "files") and hasattr(self._meter, "take")
        #: why the last attempt failed; None when it did not
        self.reason: Optional[str] = None
        self.failures = 0
        self._retry_ns: Optional[int] = None

    def attempt(self, now_ns: int, act: Callable[[Any], Answer]) -> Optional[Answer]:
        """What `act` gets from the meter; None where it fails, for the `reason`."""
        try:
            if self._retry_ns is not None and now_ns >= self._retry_ns:
                self._retry_ns = now_ns + RETRY_NS
                self._reopen()
            if self._meter is None:
                self.failures += 1
                return None
            answer = act(self._meter)
        except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything; none of it may end a run
            self.reason = reason_of(error)
            self.failures += 1
            self._retry_ns = now_ns + RETRY_NS if self._retry_ns is None else self._retry_ns
            return None
        self.reason = self._retry_ns = None
        return answer

    @property
    def offsets_ns(self) -> Optional[Sequence[int]]:
        """When each column of the last reading was read after the first (ns), from a meter that has `offsets_ns`."""
        return getattr(self._meter, "offsets_ns", None)

    def close(self) -> None:
        """Close the meter, whatever it says about it."""
        if self._meter is not None:
            with contextlib.suppress(Exception):
                self._meter.close()
        self._meter = None

    def _reopen(self) -> None:
        self.close()
        meter = self._factory(self._request)
        columns = meter.open().columns
        if columns != self.info.columns:
            meter.close()
            raise MeterError(f"{self.info.name} came back with other columns; start a new run")
        self._meter = meter


def reason_of(error: BaseException) -> str:
    """An error as one line; our own errors already are one."""
    text = " ".join(str(error).split())
    return text if isinstance(error, EbbenchError) and text else f"{type(error).__name__}: {text}"

"""A meter as it is named: by a URI on the command line, or by a table of a bench file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union
from urllib.parse import parse_qsl, urlencode

from ebbench.errors import ConfigError, nearest

#: what the bench itself says of a meter; every other key is an option of the meter
OWN_KEYS = ("uri", "type", "address", "name", "reference", "wiring")

#: in the place of meters: none, in a run on a board that has none of its own
OFF = "off"

_ALIAS = re.compile(r"[A-Za-z0-9_-]+")
_PASSWORD = re.compile(r"//[^/@?]*:[^/@?]*@")
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class MeterRef:
    """``name:address?key=value&key=value``, or the same as a table.

    `name` is the registered meter. `alias` is what it is called in this bench (None: like the meter), `is_reference` whether its
    energy is the one that counts, `wiring` how it is connected, in words. `options` are the meter's own: text where a URI gave
    them, any JSON value where a file did.
    """

    name: str
    address: Optional[str] = None
    options: Mapping[str, Any] = field(default_factory=dict)
    alias: Optional[str] = None
    is_reference: bool = False
    wiring: Optional[str] = None

    @classmethod
    def parse(cls, uri: str) -> MeterRef:
        """Read a meter URI; ``sim?noise_w=0.1`` and ``replay:old/trace.csv?name=old`` are both fine."""
        head, _, query = uri.partition("?")
        name, _, address = head.partition(":")
        if not name:
            raise ConfigError(f"meter {_without_password(uri)!r} has no name; write NAME or NAME:ADDRESS?scope=wall")
        if query and not all("=" in pair for pair in query.split("&")):
            raise ConfigError(f"meter {_without_password(uri)!r}: options are written ?key=value&key=value")
        options: Dict[str, Any] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):  # what is said twice is a list, and nothing is lost
            options[key] = f"{options[key]},{value}" if key in options else value
        own = {key: options.pop(key) for key in ("name", "wiring") if key in options}
        reference = options.pop("reference", "0").lower()
        faults = [f"reference = {reference!r} is neither 1 nor 0"] if reference not in (*_YES, *_NO) else []
        faults += _text_faults(address=address, **own)
        if faults:
            raise ConfigError(f"meter {_without_password(uri)!r}: {'; '.join(faults)}")
        return cls(name, address or None, options, own.get("name"), reference in _YES, own.get("wiring"))

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> MeterRef:
        """Read one ``[[meters]]`` table of a bench file. Raises ConfigError with all its faults."""
        faults = list(_table_faults(table))
        own = {key: table.get(key) for key in OWN_KEYS}
        start = cls("")
        if isinstance(own["uri"], str):
            try:
                start = cls.parse(own["uri"])
            except ConfigError as error:
                faults.append(str(error))
        if faults:
            raise ConfigError(*faults)
        options = {**start.options, **{k: v for k, v in table.items() if k not in OWN_KEYS}}
        return cls(
            own["type"] or start.name,
            own["address"] or start.address,
            options,
            own["name"] or start.alias,
            start.is_reference if own["reference"] is None else own["reference"],
            own["wiring"] or start.wiring,
        )

    @property
    def called(self) -> str:
        """The name under which its traces and energies are kept."""
        return self.alias or self.name

    def settings(self) -> Dict[str, Any]:
        """As the table that `from_table` reads."""
        own = {"type": self.name, "address": self.address, "name": self.alias, "wiring": self.wiring}
        table: Dict[str, Any] = {key: value for key, value in own.items() if value is not None}
        return {**table, **({"reference": True} if self.is_reference else {}), **self.options}

    def __str__(self) -> str:
        own = {"name": self.alias, "reference": "1" if self.is_reference else None, "wiring": self.wiring}
        given = {**self.options, **{key: value for key, value in own.items() if value is not None}}
        query = urlencode(given, safe="/:,")
        return self.name + (f":{self.address}" if self.address else "") + (f"?{query}" if query else "")


#: a meter as a bench holds it
Named = Union[str, MeterRef]


def refs_of(meters: Iterable[Named]) -> List[MeterRef]:
    """All meters of a bench, the reference first, the others in their order. Raises ConfigError with all faults."""
    refs: List[MeterRef] = []
    faults: List[str] = []
    for meter in meters:
        try:
            refs.append(meter if isinstance(meter, MeterRef) else MeterRef.parse(meter))
        except ConfigError as error:
            faults.append(str(error))
    faults += together_faults([ref.called for ref in refs])
    if len(refs) > 1 and any(ref.name == OFF for ref in refs):
        faults.append(f"'{OFF}' means no meter, and stands alone")
    if sum(ref.is_reference for ref in refs) > 1:
        names = ", ".join(ref.called for ref in refs if ref.is_reference)
        faults.append(f"{names} are all called the reference; one meter counts")
    if faults:
        raise ConfigError(*faults)
    return sorted(refs, key=lambda ref: not ref.is_reference)


def together_faults(names: Sequence[str]) -> List[str]:
    """What is wrong with these names in one bench."""
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"meter {name!r} is named twice; call one of them otherwise, as in {name}?name=OTHER" for name in twice]


def _table_faults(table: Mapping[str, Any]) -> Iterable[str]:
    if "uri" in table and ("type" in table or "address" in table):
        yield "it has a uri and also a type or an address; give the one or the others"
    elif "uri" not in table and "type" not in table:
        known = [key for key in OWN_KEYS if key not in table]
        yield f"it says neither uri nor type ({nearest(next(iter(table), ''), known)})"
    for key in ("uri", "type", "address", "name", "wiring"):
        if key in table and not (isinstance(table[key], str) and table[key]):
            yield f"{key} = {table[key]!r}: a text is needed"
    if not isinstance(table.get("reference", False), bool):
        yield f"reference = {table['reference']!r} is neither true nor false"
    yield from _text_faults(**{k: table[k] for k in ("address", "name") if isinstance(table.get(k), str)})
    for key, value in table.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            yield f"{key} = {value!r} is no finite number, text, true, false, list or table"


def _text_faults(**texts: str) -> Iterable[str]:
    name = texts.get("name")
    if name is not None and not _ALIAS.fullmatch(name):
        yield f"name = {name!r}: letters, digits, _ and - are allowed"
    if _PASSWORD.search(texts.get("address", "")):
        yield "a password in the address would be stored with the run; name an environment variable with password_env"


def _without_password(uri: str) -> str:
    return _PASSWORD.sub("//...@", uri)

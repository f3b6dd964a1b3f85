"""Values from TOML and JSON, each checked for its type, and the names of settings."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Dict, Iterable

from ebbench.errors import ConfigError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:  # the last Python of a TX2 is 3.8
    import tomli as tomllib


def load_toml(path: Path) -> Dict[str, Any]:
    """Read a TOML file, every fault in one line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is not there") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a file of TOML") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not TOML, which is text in UTF-8 ({error.reason} in byte {error.start})"
        ) from error
    except ValueError as error:  # also an integer of thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}") from error


def refuse_unknown(settings: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ConfigError with every key that is not known, and the nearest one that is."""
    names = list(known)
    faults = [f"{where}: unknown key {key!r}; {nearest(key, names)}" for key in settings if key not in names]
    if faults:
        raise ConfigError(*faults)


_NUMBERS = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def coerce(name: str, value: Any, cls: type) -> Any:
    """Check one value against the field's annotation; lists become tuples."""
    kind = next(f.type for f in dataclasses.fields(cls) if f.name == name)
    if kind.startswith("Optional["):
        if value is None:
            return None
        kind = kind[len("Optional[") : -1]
    if kind == "Draw":
        kind = "str" if isinstance(value, str) else "Tuple[int, ...]"
    if kind == "PruneRatio":
        kind = "str" if isinstance(value, str) else "float"
    if kind.startswith("Tuple["):
        values = value if isinstance(value, (list, tuple)) else (value,)
        return tuple(typed_scalar(name, v, kind[len("Tuple[") : -len(", ...]")]) for v in values)
    return typed_scalar(name, value, kind)


def typed_scalar(name: str, value: Any, kind: str) -> Any:
    """The value, if it is an int, float (a finite one), bool or str as `kind` says. Raises ConfigError with the name."""
    if not isinstance(value, _NUMBERS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"{name} = {value!r}: a value of type {kind} is needed")
    if kind == "float" and not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{name} = {value!r}: a finite number is needed")
    return float(value) if kind == "float" else value

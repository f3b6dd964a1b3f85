"""A prune ratio as it is typed: a number, or ``auto``."""

from __future__ import annotations

from typing import Any, Optional, Union

import click

from ebbench.config.method_settings import AUTO


class RatioType(click.ParamType):
    """A number, whose range the recipe checks, or the word."""

    name = "FLOAT|auto"

    def convert(
        self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]
    ) -> Union[str, float]:
        """The number, or ``auto``; fails for any other text."""
        if value == AUTO:
            return AUTO
        try:
            return float(value)
        except ValueError:
            return self.fail(f"{value!r} is neither a number nor {AUTO!r}", param, context)


RATIO = RatioType()

"""A value as it is typed that is a number, or a word in the place of one."""

from __future__ import annotations

from typing import Any, Optional, Union

import click

from ebbench.config.method_settings import AUTO


class NumberOr(click.ParamType):
    """A number, whose range is checked elsewhere, or one of the words."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.name = "|".join(("FLOAT", *words))

    def convert(
        self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]
    ) -> Union[str, float]:
        """The number, or the word; fails for any other text."""
        if value in self._words:
            return str(value)
        try:
            return float(value)
        except ValueError:
            words = " nor ".join(map(repr, self._words))
            return self.fail(f"{value!r} is neither a number nor {words}", param, context)


RATIO = NumberOr(AUTO)

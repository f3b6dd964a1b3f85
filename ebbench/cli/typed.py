"""What was typed wrongly, all of it at once: click itself ends at the first option whose value is of another type."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Optional

import click

from ebbench.errors import Faults

#: looks at the options by name, those that could not be read as if not given, and raises UserError with what is wrong with them
Look = Callable[[Dict[str, Any]], None]


class Typed(click.Command):
    """A command that says the faults of all its options; with `look`, also what that finds in the others."""

    def __init__(self, *arguments: Any, look: Optional[Look] = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._look = look

    def parse_args(self, ctx: click.Context, args: List[str]) -> List[str]:
        """As click does it. Raises UsageError with every fault where a value is not of its type, or missing."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter:
            faults = self._faults(ctx, given)
            if self._look is not None:
                with faults.gathered():
                    self._look(dict(ctx.params))
            raise click.UsageError("; ".join(dict.fromkeys(faults.found)), ctx) from None

    def _faults(self, ctx: click.Context, args: List[str]) -> Faults:
        """Why options cannot be read, by reading again without the one found last; `ctx` then has them as if not given."""
        lenient, faults, wrong = copy.copy(self), Faults(), []
        lenient.params = [copy.copy(param) for param in self.params]
        while True:
            ctx.params.clear()
            try:
                click.Command.parse_args(lenient, ctx, list(args))
                break
            except click.BadParameter as error:
                faults.found.append(error.format_message().rstrip("."))
                if error.param is None or error.param in wrong:
                    break
                wrong.append(error.param)
                error.param.type, error.param.required = click.UNPROCESSED, False
        ctx.params.update({p.name or "": () if getattr(p, "multiple", False) else None for p in wrong})
        return faults

"""A group of commands that says for which of them something was typed wrongly."""

from __future__ import annotations

from typing import Any

import click


class Commands(click.Group):
    """Knows the command of a fault that click's parser finds, such as an option without its value; click names none."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            name = ctx.invoked_subcommand
            command = self.get_command(ctx, name) if name else None
            if error.ctx is None and command is not None:
                error.ctx = click.Context(command, parent=ctx, info_name=name)
            raise

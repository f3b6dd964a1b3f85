"""What the command line says beside a result: one line on stderr."""

from __future__ import annotations

import click


def say(text: str) -> None:
    """One line for the user, on stderr."""
    click.echo(f"ebbench: {text}", err=True)

"""``ebbench remote-agent``: what ``ebbench run --on`` talks to on the board."""

from __future__ import annotations

import sys

import click


@click.command("remote-agent", hidden=True)
def remote_agent() -> None:
    """Answer the questions of `ebbench run --on`, one JSON object per line on stdin and stdout."""
    from ebbench.remote.agent import serve

    serve(sys.stdin, sys.stdout)

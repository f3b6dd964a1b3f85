"""`python -m ebbench` is the command `ebbench`."""

from ebbench.cli import main

main()

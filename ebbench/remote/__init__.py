"""A run on another machine, over the system's ssh: what the board does (`agent`, `job`) and what the laptop does (the rest)."""

"""Meters, one module each, and the boards. What a meter is made of lies in the package that is named for it:

`meter` (what any of them takes: options, an address, a thread of its own, care with what a device says), `lines`, `plugs`,
`instruments` and `logs` (ways to talk to one), `nvidia` and `kernel` (what the machine under test tells of itself), `boards`.
A meter imports from these; they never import a meter, and no meter imports another (the contract is in ``pyproject.toml``).
"""

"""In what arithmetic a network is trained: full, mixed, 8-bit blocks, 8-bit integers."""

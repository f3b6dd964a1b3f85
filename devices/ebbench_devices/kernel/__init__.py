"""What the kernel's files tell: a number, a counter that wraps, and the state of the machine."""

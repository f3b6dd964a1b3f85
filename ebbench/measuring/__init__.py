"""The measurement core around other code: a block of Python, or any program."""

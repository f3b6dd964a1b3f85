"""Lines of text from a serial port, a TCP connection or a program, and what they mean."""

"""What any meter is made of: its options, where it is, a thread of its own, and care with what a device says."""

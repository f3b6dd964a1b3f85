"""What is pruned, and what is left: masks of channels and of weights, and the small network that a mask makes."""

"""Networks and how to train, prune and count them."""

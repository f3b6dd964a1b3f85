"""Images and labels: where they come from, what is held out of a training, and batches of them."""

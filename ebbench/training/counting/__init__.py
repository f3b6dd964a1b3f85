"""What a training computes, counted without training: multiply-adds, bytes, and what a run really did."""

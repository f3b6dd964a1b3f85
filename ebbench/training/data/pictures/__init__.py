"""Data sets that are folders of JPEG and PNG files: found, looked at once before training, read by several processes."""

"""NVIDIA's boards and GPUs: their power monitors and rails, their libraries and services, and the programs that set them."""

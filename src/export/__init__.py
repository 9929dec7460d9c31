"""The pruned network without this project: written, compared with PyTorch, timed."""

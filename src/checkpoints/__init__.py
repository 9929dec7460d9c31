"""Reads files of weights safely and once, and writes checkpoints atomically."""

"""Turns what people type into Hydra's words, and errors and signals into sentences."""

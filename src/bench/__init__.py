"""Measures speed and memory on this machine: `python -m src.bench`, `.training`, `.data`."""

"""Measures speed and memory: `python -m src.bench`, `src.bench.training`, `src.bench.data`."""

"""Exports pruned networks to files that run without this project, and checks and times them."""

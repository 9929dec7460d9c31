"""Decides what becomes of the patch tokens that do not go on: one file per disposal."""

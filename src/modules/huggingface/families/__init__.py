"""Twins of transformers' models: one file a family, each with `TWINS` by name of the class."""

"""Decides which tokens stay and what becomes of the others: one file per method."""

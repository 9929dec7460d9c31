"""Writes what tasks predict, of photographs with or without labels."""

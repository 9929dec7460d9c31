"""Saves students as files that describe themselves, and loads them."""

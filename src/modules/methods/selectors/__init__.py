"""Scores patch tokens, of which the best go on: one file a selector."""

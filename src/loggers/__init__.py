"""Loggers whose files and runs go on when a training is resumed."""

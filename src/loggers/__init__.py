"""Logs to files and W&B runs that go on when a training is resumed."""

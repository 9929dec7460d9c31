"""Trains, evaluates and sweeps: everything between the entry points and the modules."""

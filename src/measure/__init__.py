"""Counts GMACs, times networks side by side and records their memory."""

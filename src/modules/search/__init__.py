"""Searches schedules that agree best with the dense network."""

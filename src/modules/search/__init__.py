"""Searches for the schedule under which a student agrees best with its dense network."""

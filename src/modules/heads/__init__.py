"""Puts dense-prediction heads of other libraries on the maps of students."""

"""Turns the rows of finished runs into tables, pictures, pages and W&B reports."""

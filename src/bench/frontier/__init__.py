"""Compares methods at several keep ratios with their dense network."""

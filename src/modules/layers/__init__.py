"""Computes what sparsification consists of: tokens, attention, scores, selection; no model."""

"""The mathematics of sparsification: tokens, attention, predictors, selection; no model."""

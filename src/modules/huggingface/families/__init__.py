"""Makes twins of transformers' models, one file per family with its `TWINS` by class name."""

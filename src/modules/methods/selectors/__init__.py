"""Which patch tokens go on: one file a selector."""

"""Students as files that say by themselves what they are."""

"""What decides which tokens stay, and what becomes of the rest: one file a method."""

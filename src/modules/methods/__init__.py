"""Methods, which decide which tokens stay and what becomes of the others: one file each."""

"""Parts that are written outside of the package, as a user would write them."""

"""Many runs as one: each cell once, failures apart, and a report over all of them."""

"""What Weights & Biases shows: runs, masked images, a sweep's report, a workspace."""

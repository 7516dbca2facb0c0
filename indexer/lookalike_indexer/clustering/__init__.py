"""k-means over a space: a sample, the training, and the assignment of every image."""

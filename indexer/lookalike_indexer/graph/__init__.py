"""The k-nearest-neighbor graph of a space: the ids and distances of each image's nearest others, as a table."""

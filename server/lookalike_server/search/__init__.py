"""Searching one space: effort, the batches of its index, and the rows of a reply."""

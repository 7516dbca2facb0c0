"""Lookalike's indexer: from a folder of images to a collection that can be searched and clustered."""

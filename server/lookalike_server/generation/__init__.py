"""Everything in memory of one generation of the collection, and the verification of its files."""

"""What is measured, by which suite, and the report of it. Run by `lookalike bench`."""

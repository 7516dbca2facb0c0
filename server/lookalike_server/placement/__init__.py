"""Where an index lives. Nothing above this package asks; see `build_searchers`."""

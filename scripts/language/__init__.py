"""The checks of language that `make lint` runs; see CONTRIBUTING.md, "How to write"."""

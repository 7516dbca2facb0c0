"""The collection on disk: its layout, tables, manifest and generations. Knows neither torch nor faiss."""

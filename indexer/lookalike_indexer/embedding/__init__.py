"""From the source's listing to embeddings, part by part; and single queries in the same way."""

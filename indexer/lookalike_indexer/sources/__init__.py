"""Where images come from: a directory, a list file or a Parquet file, and the listing kept in the collection."""

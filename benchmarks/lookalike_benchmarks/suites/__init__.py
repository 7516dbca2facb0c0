"""One module for each suite; each has `run(settings: Settings) -> Iterator[Row]`."""

"""Benchmark suites, one module each, with `run(settings: Settings) -> Iterator[Row]`."""

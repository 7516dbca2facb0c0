"""The wire contract, package lookalike.v1: stubs generated from proto/ by `make proto`."""

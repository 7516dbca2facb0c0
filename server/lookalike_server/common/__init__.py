"""What every room may use: errors, limits, settings, and the record of a call."""

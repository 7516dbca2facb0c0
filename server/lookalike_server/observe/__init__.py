"""What a server tells about itself: measurements, logs, traces, and the recall that its callers really get."""

"""Many small works, few large batches: queues, turns, and a model of how long batches take."""

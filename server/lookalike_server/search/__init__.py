"""Searching one space: effort, and the engine that batches searches. Arrays go in and arrays come out."""

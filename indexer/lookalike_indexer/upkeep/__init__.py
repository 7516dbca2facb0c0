"""Keeping what was made of a collection in step with its images."""

"""Whether a collection is still what was written, and how to mend what is not."""

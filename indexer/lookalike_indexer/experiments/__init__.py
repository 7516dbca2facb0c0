"""What people ask of a clustered collection: one file an experiment, each a function from a view to a result."""

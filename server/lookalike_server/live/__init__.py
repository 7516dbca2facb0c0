"""Changes to a served collection: their log, and the view of a generation that has them."""

"""From the queries of a call to vectors of one space."""

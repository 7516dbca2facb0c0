"""All experiments over a collection as one page that needs nothing but a browser."""

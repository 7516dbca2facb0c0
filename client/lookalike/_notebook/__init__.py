"""How results show themselves in a notebook, and become tables of other libraries."""

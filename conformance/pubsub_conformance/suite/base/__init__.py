"""The base directory: where it is, whom it trusts, what is made inside and what stands in it."""

"""The kit's own reading of the specification, a file for each page. Imports nothing of the kit."""

"""The conformance tests, one module for each page of the specification and one for the driver."""

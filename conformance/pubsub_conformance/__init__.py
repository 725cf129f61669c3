"""A conformance kit for implementations of the pubsub specification."""

__version__ = "1.1.0"

"""A bridge: the same topics on several machines, over NATS (see README.md beside this file)."""

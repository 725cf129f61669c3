"""The inline lane (inline.md).

A driver publishes to marked channels of the kit, and fetches from its own what the kit writes.
"""

"""The inline lane (inline.md). Of a channel that is marked, the kit is the publisher, or the owner:

a driver publishes to marked channels of the kit, and fetches from its own what the kit writes there.
"""

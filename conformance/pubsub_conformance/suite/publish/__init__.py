"""Publishing (publish.md): ids, the steps of a publish, errors, waiting for room, listings.

The kit is the subscriber. For a test that acts between two steps of a publish, strace stops the
driver there; other tests of the same rule show less, but run on every system.
"""

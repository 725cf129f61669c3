"""Channels (channel.md): their form on disk, the descriptors of their queues, opening and closing.

A driver is tested as owner, publisher and reaper. For a test that acts between two of its steps,
strace stops it there; other tests of the same rule show less, but run on every system.
"""

"""channel.md: what a channel is on disk, its queue's descriptors, opening, closing.

A driver is looked at as owner, as publisher and as reaper. Where somebody has to come between two
of its steps it is stopped there (strace.py); the tests beside those show the same rule more weakly,
everywhere.
"""

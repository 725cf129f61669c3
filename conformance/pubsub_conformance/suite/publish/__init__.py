"""publish.md: ids, the steps of a publish, what it does when one of them fails, waiting, listings.

The kit is every subscriber. Where two processes have to meet between two steps, the driver is
stopped there (strace.py); the tests beside those show the same rule more weakly, everywhere.
"""

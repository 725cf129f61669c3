"""Lockstep: drawn schedules, one request at a time, against a model (guarantee.md).

One request at a time leaves no doubt about its result: which channel holds which messages in which
order, what each count is, and what is on the disk. Stress has the concurrency; a schedule that
fails here can be shortened, and is shown as a script that fails again.
"""

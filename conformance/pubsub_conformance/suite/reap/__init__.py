"""Reaping (reap.md): the removal of what dead processes left behind."""

"""Attacks, and their effects (security.md has a table of all).

From outside the base, the attacker is a process of another user, which needs root and setpriv. From
inside, the kit is the hostile writer. Honest steps come before and after each attack, and have to
work.
"""

"""Attempts of those who mean harm, and what they come to (security.md has the table of all).

From outside the base, the attacker is a process of another user; that takes root, and setpriv. From
inside, the kit itself is the hostile writer. Each attempt stands between honest steps that work.
"""

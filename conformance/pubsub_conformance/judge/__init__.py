"""Judgement: what was seen, by which rule it is wrong, and how that is reported."""

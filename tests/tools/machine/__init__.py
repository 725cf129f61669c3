"""Mutants that no person chose: made by tools from the reference and from C, and judged by the kit.

`candidates` finds what could be changed, `draw` puts it in an order, `reference` and `c` make the
mutants, `judge` has the kit look at one, `results` keeps what came of it, `excuses` has the reasons
for which a mutant may survive, `report` counts.
"""

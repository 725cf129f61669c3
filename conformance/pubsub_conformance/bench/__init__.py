"""Implementations side by side.

All are driven through the operations `produce` and `consume`, in alternating rounds: in each round,
all contenders run one group of figures before the next group begins, so that whatever else the
machine does meets all of them. A figure is not a verdict.
"""

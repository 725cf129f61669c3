"""Every crash point and every error point of every operation, one run for each.

A dry run under strace lists the calls of an operation (`points`). Then each call is disturbed in
its turn, in a fresh process in a fresh base (`scenes`, `operations`): the process is killed there,
or the call fails. After that, the promises of the specification are checked one by one (`verdict`,
and the operation itself).
"""

from .operations import OPERATIONS
from .points import FAULTS, KILL, parse
from .report import Run
from .runner import run, run_steps

__all__ = ["FAULTS", "KILL", "OPERATIONS", "Run", "parse", "run", "run_steps"]

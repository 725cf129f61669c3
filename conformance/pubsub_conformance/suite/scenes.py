"""What the tests of fetching and reaping arrange: what is old, and what is closed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pubsub_conformance.driver import Driver
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, start_as

NOBODY = 65534  # a user that is not root


def close_off(path: Path, mode: int) -> None:
    """Take permissions away; from root by giving the file to somebody else as well."""
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def start_without_privileges(start: Start) -> Driver:
    """A driver to which permissions apply, even where the kit is run by root."""
    if os.geteuid() != 0:
        return start()
    if shutil.which("setpriv") is None:
        not_run("permissions do not bind root, and there is no setpriv to give privileges up")
    given_up = "-dac_override,-dac_read_search,-fowner,-kill"
    return start_as(start, ["setpriv", f"--bounding-set={given_up}", "--inh-caps=-all"])

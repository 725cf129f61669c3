"""`python -m pubsub_conformance` is the command `pubsub-conformance`."""

import sys

from .commands import main

sys.exit(main())

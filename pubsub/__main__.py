"""`python -m pubsub` is the command `pubsub`."""

import sys

from .commands import main

sys.exit(main())

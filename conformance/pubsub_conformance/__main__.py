import sys

from pubsub_conformance.cli import main

sys.exit(main())

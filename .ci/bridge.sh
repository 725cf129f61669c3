#!/bin/sh
# Runs the bridge beside a real nats-server.
set -eu
. .ci/need.sh
need bridge nats-server
python -c 'import nats, nkeys'
exec pytest -n 2 tests/bridge "$@"

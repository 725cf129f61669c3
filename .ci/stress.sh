#!/bin/sh
# Ten minutes each of stress, of chaos and of soak, for the reference and for C.
set -eu
status=0
for command in 'stress' 'stress --chaos' 'soak'; do
    for driver in 'python conformance/implementations/reference/driver.py' \
        'conformance/implementations/c/driver'; do
        pubsub-conformance $command --seconds 600 -- $driver || status=1
    done
done
exit $status

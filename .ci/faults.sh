#!/bin/sh
# Kills a driver, and fails its system calls, at a sample of the points: faults.sh NUMBER DRIVER…
set -eu
. "$(dirname "$0")/need.sh"
if [ "$(uname)" != Linux ]; then
    echo 'faults NOT RUN: strace exists on Linux only'
    exit
fi
need faults strace
sample=$1
shift
status=0
pubsub-conformance faults --sample "$sample" -- "$@" || status=$?
# 2: strace may not attach to processes here.
[ $status -ne 2 ] || not_run faults 'they could not be judged'
exit $status

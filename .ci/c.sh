#!/bin/sh
# Builds the implementation in C, and runs the kit against it. The arguments are options of `run`.
set -eu
. .ci/need.sh
need C cc make
make -s -C conformance/implementations/c driver
pubsub-conformance run -n auto "$@" -- conformance/implementations/c/driver
exec .ci/faults.sh 200 conformance/implementations/c/driver

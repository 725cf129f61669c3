#!/bin/sh
# Hostile input for the implementation in C: from the kit, with the sanitizers, and from libFuzzer.
# The arguments are options of `fuzz`.
set -eu
. .ci/need.sh
need C cc make
cd conformance/implementations/c
make -s sanitize
pubsub-conformance fuzz "$@" --against 'python ../reference/driver.py' -- ./driver-sanitize
need libFuzzer clang
make -s fuzz-driver || not_run libFuzzer 'clang has no run time library for it here'
make -s fuzz SECONDS=300
python ../../../tests/tools/agreement.py found
pubsub-conformance fuzz --target decode --replay found -- ./driver-sanitize

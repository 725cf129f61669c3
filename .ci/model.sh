#!/bin/sh
# Checks the models of the specification. The arguments are options of model.py.
set -eu
. .ci/need.sh
need model spin cc
exec python tests/tools/model.py "$@"

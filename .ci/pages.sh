#!/bin/sh
# Opens the pages of the reports in headless Chromium.
set -eu
. .ci/need.sh
need pages chromedriver
need_one() {
    for tool; do
        ! command -v "$tool" >/dev/null || return 0
    done
    need pages "$1"
}
need_one chromium chromium-browser google-chrome
python -c 'import selenium' # without it, the tests would be skipped
exec pytest -n 0 tests/kit/test_browser.py "$@"

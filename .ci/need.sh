# Sourced by the scripts beside it: `need WHAT TOOL…` ends the script if a tool is missing.
#
# On a developer's machine WHAT is then not run. Where CI is set that is a failure, since CI has to
# install the tool.
need() {
    what=$1
    shift
    for tool; do
        command -v "$tool" >/dev/null || not_run "$what" "$tool is not installed here"
    done
}

not_run() {
    echo "$1 NOT RUN: $2"
    [ -z "${CI:-}" ] || exit 1
    exit 0
}

#!/usr/bin/env bash
# Makes or refreshes an environment from a lock file:  scripts/install.sh FOLDER LOCK
#
#   scripts/install.sh .venv locks/airflow-3.3-dev.txt
#   scripts/install.sh .venv locks/uv.txt               # uv alone, which writes lock files
#
# Everything that comes from outside is checked against the hashes in locks/, uv itself included; uv
# is installed once, in .venv where there is one. The stamp, FOLDER/<name of the lock>.stamp, is
# written last, so an interrupted run is simply done again.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:?the folder of the environment}
lock=${2:?a lock file}
python=$venv/bin/python
log=$venv/install.log
# The lock for development holds everything that the one without tools does, and has its Pythons.
name=$(basename "$lock" .txt)
smaller=${name%-dev}
inputs=$(dirname "$lock")/$smaller.in
[ "$name" != uv ] || inputs=locks/airflow-3.3.in

say() { printf '[%4d s] %s\n' "$SECONDS" "$1"; }

# Runs a command with its output in the log and a sign of life every five seconds.
step() {
    local what=$1 status=0
    shift
    say "$what"
    # The ticker ends with this script, and its sleep holds no pipe open for those who read us.
    while sleep 5 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        say "  still at it, $(du -sh "$venv" 2>/dev/null | cut -f1) so far"
    done &
    local ticker=$!
    trap 'kill "$ticker" 2>/dev/null || true' EXIT
    "$@" >>"$log" 2>&1 || status=$?
    kill "$ticker" 2>/dev/null && wait "$ticker" 2>/dev/null || true
    trap - EXIT
    return $status
}

fail() {
    say "Failed. The end of $log:" >&2
    tail -n 25 "$log" >&2
    exit 1
}

uv=.venv/bin/uv
has_uv() { [ "$venv" != .venv ] && "$uv" --version >/dev/null 2>&1; }

# Making a pip takes longer than all the rest, and no test of the matrix asks for one.
seed=()
if [[ $venv == .venv-matrix/* ]] && has_uv; then
    seed=(--without-pip)
fi

# An environment does not survive being moved, nor the loss of the Python it was made from.
if [ "$(cat "$venv/root" 2>/dev/null)" != "$PWD" ] || ! "$python" -c '' 2>/dev/null; then
    base=$(scripts/find_python.sh "$inputs")
    say "Making $venv with $("$base" -V)"
    rm -rf "$venv"
    "$base" -m venv ${seed[@]+"${seed[@]}"} "$venv"
    printf '%s\n' "$PWD" >"$venv/root"
fi
: >"$log"

pip() { "$python" -m pip --disable-pip-version-check --no-input "$@"; }
uv() { env -u VIRTUAL_ENV "$uv" --no-progress pip "$@" --python "$python"; }

install_uv() {
    uv=$venv/bin/uv
    step "Installing uv, a faster pip" pip install --require-hashes -r locks/uv.txt
}

if [ "$name" = uv ]; then
    install_uv || fail
    exit 0
fi

rm -f "$venv"/*.stamp
if has_uv || install_uv; then
    step "Installing what $lock names" uv sync --require-hashes "$lock" || fail
    step "Installing this project, editable" uv install --no-deps --editable . || fail
    check=(uv check)
else
    say "uv cannot be installed here; going on with pip, which takes a few minutes"
    step "Installing what $lock names" pip install --require-hashes -r "$lock" || fail
    step "Installing this project, editable" pip install --no-deps --editable . || fail
    check=(pip check)
fi

if ! "${check[@]}" >>"$log" 2>&1; then
    say "The lock does not give what setup.cfg asks for: run 'make lock'" >&2
    fail
fi

touch "$venv/$smaller.stamp" "$venv/$name.stamp"
say "Done: $venv, $(du -sh "$venv" | cut -f1)"

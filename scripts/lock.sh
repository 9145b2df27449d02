#!/usr/bin/env bash
# Writes the lock files anew, for Python 3.11 to 3.13 on every platform:  scripts/lock.sh
#
# Airflow is held at one release; everything else moves to the newest that fits. No address of a
# package index is written down, so the files serve any mirror.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
python=.venv/bin/python
constraints=locks/airflow-3.3.in

compile() {
    local out=$1
    shift
    echo "Resolving $out"
    "$uv" pip compile "$@" --python "$python" --universal --python-version 3.11 --generate-hashes \
        --upgrade --no-emit-index-url --quiet --custom-compile-command "make lock" --output-file "$out"
}

compile locks/airflow-3.3.txt setup.cfg --constraint "$constraints"
# The small lock constrains the large one: tests run on exactly what the demo runs on.
compile locks/airflow-3.3-dev.txt setup.cfg --extra dev \
    --constraint "$constraints" --constraint locks/airflow-3.3.txt
echo uv | compile locks/uv.txt -

#!/usr/bin/env bash
# Writes the lock files anew, each for every platform and for the Pythons that its .in file names:
#   scripts/lock.sh
#
# Airflow is held at one release; everything else moves to the newest that fits, or to the oldest where
# the .in file says "# Resolution: lowest-direct". No address of a package index is written down, so the
# files serve any mirror.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
python=.venv/bin/python

# compile OUT IN ARGUMENTS...
compile() {
    local out=$1 oldest resolution
    oldest=$(sed -n 's/^# Pythons,.*: //p' "$2" | tr ' ' '\n' | sort -V | head -n 1)
    resolution=$(sed -n 's/^# Resolution: //p' "$2")
    shift 2
    echo "Resolving $out"
    "$uv" pip compile "$@" --python "$python" --universal --python-version "$oldest" --generate-hashes \
        --resolution "${resolution:-highest}" --upgrade --no-emit-index-url --quiet \
        --custom-compile-command "make lock" --output-file "$out"
}

for inputs in locks/airflow-*.in; do
    lock=${inputs%.in}
    compile "$lock.txt" "$inputs" setup.cfg --constraint "$inputs"
    # The small lock constrains the large one: tests run on exactly what a demo runs on.
    compile "$lock-dev.txt" "$inputs" setup.cfg --extra dev --constraint "$inputs" --constraint "$lock.txt"
done

# What is tested there is what we ask for; pytest, which tests it, is the one of all other tests.
pytest=$(sed -n 's/^\(pytest==[^ ;]*\).*/\1/p' locks/airflow-3.3-dev.txt | head -n 1)
for inputs in locks/matrix/*.in; do
    echo "$pytest" | compile "${inputs%.in}.txt" "$inputs" setup.cfg - --constraint "$inputs"
done
echo uv | compile locks/uv.txt locks/airflow-3.3.in -

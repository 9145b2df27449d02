#!/usr/bin/env bash
# Prints the path of a Python that can carry an environment, or says what to install and exits 2:
#   scripts/find_python.sh locks/airflow-3.3.in
#
# Which versions can is said in that file. Every match on the PATH is tried, not only the first: a
# version manager's shim may stand in front of a Python that works. PYTHON=... names one instead, for
# Airflow 2.11 PYTHON_2_11=..., and is checked in the same way.
set -euo pipefail

lock=${1:?a file of locks/ that names Pythons}
read -r -a suitable <<<"$(sed -n 's/^# Pythons,.*: //p' "$lock")"
airflow=$(sed -n 's/^apache-airflow==//p' "$lock")
case $airflow in
    2.*) variable=PYTHON_2_11 ;;
    *) variable=PYTHON ;;
esac
named=${!variable:-}

# The base interpreter is printed, so that .venv never becomes the parent of its own successor.
probe='
import sys
found = "%d.%d" % sys.version_info[:2]
sys.exit("is Python " + found) if found not in sys.argv[1:] else None
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv or ensurepip module")
print(getattr(sys, "_base_executable", None) or sys.executable)
'
rejected=()

try() {
    local answer
    if answer=$("$1" -I -c "$probe" "${suitable[@]}" 2>&1); then
        printf '%s\n' "$answer" | tail -n 1
        exit 0
    fi
    rejected+=("$1: $(printf '%s\n' "${answer:-does not run}" | head -n 1)")
}

if [ -n "$named" ]; then
    try "$named"
else
    for name in "${suitable[@]/#/python}" python3; do
        while IFS= read -r path; do
            try "$path"
        done < <(type -aP "$name" || true)
    done
fi

best=${suitable[0]}
{
    echo "No suitable Python: Airflow $airflow runs on any of ${suitable[*]}, with the venv module."
    for line in ${rejected[@]+"${rejected[@]}"}; do
        echo "  tried $line"
    done
    if [ -n "$named" ]; then
        echo "$variable is set to '$named': name another one, or leave $variable unset."
    elif [ -f /etc/debian_version ]; then
        echo "Install one with:  apt-get install python3 python3-venv"
        echo "If this system's python3 is older or newer than that, install Python $best from python.org,"
        echo "pyenv or uv, and run:  make $variable=/path/to/python$best ..."
    else
        echo "Install Python $best from your system's packages, python.org, Homebrew (python@$best), pyenv"
        echo "or uv; where Python is not on the PATH run:  make $variable=/path/to/python$best ..."
    fi
} >&2
exit 2

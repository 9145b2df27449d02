#!/usr/bin/env bash
# Prints the path of a Python that can carry the environment, or says what to install and exits 2.
#
# Every match on the PATH is tried, not only the first: a version manager's shim may stand in front
# of a Python that works. PYTHON=... names one instead, and is checked in the same way.
set -euo pipefail

# The base interpreter is printed, so that .venv never becomes the parent of its own successor.
probe='
import sys
sys.exit("is Python %d.%d" % sys.version_info[:2]) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv or ensurepip module")
print(getattr(sys, "_base_executable", None) or sys.executable)
'
rejected=()

try() {
    local answer
    if answer=$("$1" -I -c "$probe" 2>&1); then
        printf '%s\n' "$answer" | tail -n 1
        exit 0
    fi
    rejected+=("$1: $(printf '%s\n' "${answer:-does not run}" | head -n 1)")
}

if [ -n "${PYTHON:-}" ]; then
    try "$PYTHON"
else
    for name in python3.12 python3.13 python3.11 python3; do
        while IFS= read -r path; do
            try "$path"
        done < <(type -aP "$name" || true)
    done
fi

{
    echo "No suitable Python: this needs 3.11, 3.12 or 3.13 with the venv module."
    for line in ${rejected[@]+"${rejected[@]}"}; do
        echo "  tried $line"
    done
    if [ -n "${PYTHON:-}" ]; then
        echo "PYTHON is set to '$PYTHON': name another one, or leave PYTHON unset."
    elif [ -f /etc/debian_version ]; then
        echo "Install one with:  apt-get install python3 python3-venv"
        echo "If this system's python3 is older or newer than that, install Python 3.12 from python.org,"
        echo "pyenv or uv, and run:  make PYTHON=/path/to/python3.12 ..."
    else
        echo "Install Python 3.12 from your system's packages, python.org, Homebrew (python@3.12), pyenv"
        echo "or uv; where Python is not on the PATH run:  make PYTHON=/path/to/python3.12 ..."
    fi
} >&2
exit 2

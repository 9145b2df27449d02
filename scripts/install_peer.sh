#!/usr/bin/env bash
# Installs the other people's identity provider that some tests run against:  install_peer.sh FOLDER
set -euo pipefail

cd "$1" 2>/dev/null || exit 0
[ -f package-lock.json ] || exit 0
# npm writes this file at the end of every install.
[ package-lock.json -nt node_modules/.package-lock.json ] || exit 0

if ! command -v npm >/dev/null; then
    echo "Without npm, the tests against $1 are skipped."
    exit 0
fi
echo "Installing the packages of $1"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

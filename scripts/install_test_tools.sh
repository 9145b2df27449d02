#!/usr/bin/env bash
# The programs that tests use beside Python: a Chromium, and Node.js with npm.
#
# Debian and Ubuntu with root rights get what is missing. Elsewhere it is named, and the tests that
# need it are skipped; in CI a skipped test would hide a fault, so there a missing tool is an error.
set -euo pipefail

has_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null && return 0
    done
    return 1
}

has_node() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null
}

missing() {
    has_browser || echo chromium
    has_node || echo nodejs npm
}

apt_install() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo -n)
    fi
    echo "Installing for the tests: $*"
    ${sudo[@]+"${sudo[@]}"} apt-get update -q
    ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "$@"
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0

if [ -f /etc/debian_version ] && command -v apt-get >/dev/null; then
    if [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; then
        # shellcheck disable=SC2086  # a list of package names
        apt_install $wanted || echo "apt-get could not install: $wanted" >&2
    fi
fi

wanted=$(missing | tr '\n' ' ')
[ -n "$wanted" ] || exit 0

if [ -n "${CI:-}" ]; then
    echo "Missing, and CI runs every test: $wanted" >&2
    exit 1
fi
echo "Missing: $wanted- the tests that need them are skipped. Node.js must be 18 or newer."

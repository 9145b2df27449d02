#!/usr/bin/env bash
# The programs that tests use beside Python: a Chromium, Node.js with npm, and SimpleSAMLphp with PHP.
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

has_php() {
    command -v php >/dev/null &&
        php -r "exit(array_diff(['dom', 'mbstring', 'openssl', 'zlib'], get_loaded_extensions()) ? 1 : 0);"
}

peer=$(dirname "$0")/../tests/peers/simplesamlphp

has_simplesamlphp() {
    [ -d "$peer/.package" ]
}

can_install() {
    [ -f /etc/debian_version ] && command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

updated=
update_lists() {
    if [ -z "$updated" ]; then
        as_root apt-get update -q || true
        updated=yes
    fi
}

apt_install() {
    echo "Installing for the tests: $*"
    update_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" ||
        echo "apt-get could not install: $*" >&2
}

# Not installed: the package depends on a web server, which would be started, and nothing here uses it.
unpack_simplesamlphp() {
    local part=$peer/.package.part
    echo "Unpacking for the tests: simplesamlphp"
    update_lists
    rm -rf "$part"
    mkdir "$part"
    if (cd "$part" && apt-get download -q -o APT::Sandbox::User=root simplesamlphp) &&
        dpkg-deb -x "$part"/simplesamlphp_*.deb "$part"; then
        mv "$part" "$peer/.package"
    else
        echo "apt-get could not get: simplesamlphp" >&2
    fi
}

# One by one: what cannot be had must not keep the other away.
if can_install; then
    has_browser || apt_install chromium
    has_node || apt_install nodejs npm
    has_php || apt_install php-cli php-mbstring php-xml
    has_simplesamlphp || unpack_simplesamlphp
fi

missing=()
has_browser || missing+=("chromium")
has_node || missing+=("Node.js 18 or newer with npm")
has_php || missing+=("PHP with mbstring and xml")
has_simplesamlphp || missing+=("SimpleSAMLphp, Debian's package, unpacked")
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

list=$(printf ', %s' "${missing[@]}")
echo "Missing: ${list:2}." >&2
if [ -n "${CI:-}" ]; then
    echo "In CI every test must run." >&2
    exit 1
fi
echo "The tests that need it are skipped." >&2

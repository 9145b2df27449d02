#!/usr/bin/env bash
# The programs that tests use beside Python: a Chromium, Node.js with npm, SimpleSAMLphp with PHP, and a
# PostgreSQL server, of which the tests start a cluster of their own.
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

# Where tests/postgresql.py looks for it.
has_postgresql() {
    local folder
    for folder in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null)" \
        "$(dirname "$(command -v postgres)" 2>/dev/null)"; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && return 0
    done
    return 1
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

# Debian's package makes a cluster and starts it, unless it is told not to before it comes.
install_postgresql() {
    local file=/etc/postgresql-common/createcluster.d/airflow-sso-tests.conf
    as_root mkdir -p "$(dirname "$file")"
    echo "create_main_cluster = false" | as_root tee "$file" >/dev/null
    apt_install postgresql
    as_root rm -f "$file"
}

# One by one: what cannot be had must not keep the other away.
if can_install; then
    has_browser || apt_install chromium
    has_node || apt_install nodejs npm
    has_php || apt_install php-cli php-mbstring php-xml
    has_simplesamlphp || unpack_simplesamlphp
    has_postgresql || install_postgresql
fi

missing=()
has_browser || missing+=("chromium")
has_node || missing+=("Node.js 18 or newer with npm")
has_php || missing+=("PHP with mbstring and xml")
has_simplesamlphp || missing+=("SimpleSAMLphp, Debian's package, unpacked")
has_postgresql || missing+=("a PostgreSQL server")
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

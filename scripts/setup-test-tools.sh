#!/usr/bin/env bash
# Installs what the tests compare Placet with: other people's tools, from Debian's packages.
# Returns at once when everything is there. Python and npm packages are fetched by the tests that
# use them.
set -euo pipefail

missing=()
need() { # need PACKAGE COMMAND…: the package is missing unless the command succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

need g++ command -v g++
need git command -v git
need strace command -v strace
need openssl command -v openssl
need curl command -v curl
need jq command -v jq
need bubblewrap command -v bwrap
need golang-go test -x /usr/bin/go
need golang-golang-x-mod-dev test -d /usr/share/gocode/src/golang.org/x/mod/sumdb/note
need python3 command -v python3
need python3-venv python3 -c 'import ensurepip, venv'
need nodejs command -v node
need npm command -v npm
need chromium-headless-shell test -x /usr/bin/chromium-headless-shell -o -x /usr/bin/chromium
need vim command -v vim
need tmux command -v tmux
need less command -v less
need procps command -v top
need make command -v make
need curl command -v curl

if [ ${#missing[@]} -eq 0 ] && command -v promtool >/dev/null; then
    exit 0
fi
command -v promtool >/dev/null || wanted="promtool of the package prometheus"

echo "The tests need these Debian packages: ${missing[*]} ${wanted:-}"
if [ "$(id -u)" -ne 0 ]; then
    echo "Install them, then run this again:  sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here. Install what your system calls these packages, then run this again." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
if [ ${#missing[@]} -gt 0 ]; then
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
# The program alone: the package would start a server.
if [ -n "${wanted:-}" ]; then
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    chmod 755 "$unpacked"
    (cd "$unpacked" && apt-get download -q prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool)
    install -m 755 "$unpacked/usr/bin/promtool" /usr/local/bin/promtool
fi

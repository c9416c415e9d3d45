#!/usr/bin/env bash
# Installs the MCP server that `placet demo` works with, and prints where. Prints nothing where there is no
# npm: the demo then says that it leaves those scenes out. In CI that is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$PWD/target/demo-mcp
server=@modelcontextprotocol/server-filesystem@2026.8.31

if [ ! -e "$dir/complete" ]; then
    if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
        echo "No npm here: the demo leaves out its scenes of MCP." >&2
        [ -z "${CI:-}" ] || exit 1
        exit 0
    fi
    mkdir -p "$dir"
    if ! npm install --no-audit --no-fund --ignore-scripts --silent --prefix "$dir" "$server" >&2; then
        echo "npm did not install $server: the demo leaves out its scenes of MCP." >&2
        [ -z "${CI:-}" ] || exit 1
        exit 0
    fi
    touch "$dir/complete"
fi
echo "$dir"

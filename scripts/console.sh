#!/usr/bin/env bash
# Builds the console into console/dist, from where the next build of the program takes it. Does nothing
# when what is there is newer than its sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../console"

if ! command -v npm >/dev/null; then
    echo "The console needs Node 20 with npm; without it the program is built without a console." >&2
    exit "${CONSOLE_NEEDED:-0}"
fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-audit --no-fund
fi
newer=$(find src public monitoring scripts index.html vite.config.ts package-lock.json ../spec/openapi.json ../spec/vectors/vocabulary.json -newer dist/app.js -print -quit 2>/dev/null || echo all)
if [ ! -e dist/app.js ] || [ -n "$newer" ]; then
    npm run --silent build
fi

#!/usr/bin/env bash
# The long runs of the tests of the service: requests made up from the published document, and kills
# under load. Usage: scripts/long-http.sh [EXAMPLES] [KILLS]
set -euo pipefail
cd "$(dirname "$0")/.."
SCHEMATHESIS_EXAMPLES=${1:-500} KILLS=${2:-50} \
    cargo test --locked --package placet --test http -- --nocapture document:: a_kill_under_load

#!/usr/bin/env bash
# rustc for fuzz builds: cargo calls it as RUSTC_WRAPPER. Adds libFuzzer's coverage counters to our
# own crates and to the JSON reader under them, with flags that stable rustc has. The rest is built
# plain: counters in Cedar's generated parser would take longer to compile than all fuzzing takes.
set -euo pipefail

rustc=$1
shift
name=
previous=
for argument in "$@"; do
    if [ "$previous" = --crate-name ]; then
        name=$argument
    fi
    previous=$argument
done

case $name in
placet_sandbox) ;; # linked, and no target runs it
placet_* | fuzz | serde_json)
    set -- "$@" --cfg fuzzing \
        -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"

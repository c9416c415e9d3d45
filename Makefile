# Placet's set-up, in two commands: `make demo` and `make test`. The rest is for whoever works on it.

CARGO ?= cargo
FUZZ_SECONDS ?= 3
# The tests mostly wait, for leases and for processes: more of them at a time than there are cores, and not too many.
export RUST_TEST_THREADS ?= $(shell n=$$(nproc 2>/dev/null || echo 4); [ $$n -gt 4 ] && echo $$n || echo 4)

.PHONY: help demo demo-tested build console test tools test-rust test-console fuzz bench lint fmt audit clean

help: ## Shows this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: console build ## Builds Placet and shows a governed session, start to proof.
	PLACET_DEMO_MCP="$$(scripts/demo-tools.sh)" target/release/placet demo

# The same scenes with the program that the tests have built.
demo-tested: console
	$(CARGO) test --workspace --locked --no-run
	PLACET_DEMO_MCP="$$(scripts/demo-tools.sh)" target/debug/placet demo

build:
	$(CARGO) build --release --locked --package placet --target-dir target

test: tools ## Installs what the tests need, and passes all of them.
	CONSOLE_NEEDED=1 $(MAKE) --no-print-directory console
	$(MAKE) --no-print-directory test-rust
	$(MAKE) --no-print-directory test-console
	@# Where nobody keeps what was built, a release of it would prove nothing that the tests have not: all unsafe code is in one crate,
	@# which they take optimized (Cargo.toml).
	$(MAKE) --no-print-directory $(if $(CI),demo-tested,demo)
	$(MAKE) --no-print-directory fuzz

tools: ## Installs the other tools that tests compare with (Debian, as root).
	scripts/setup-test-tools.sh

test-rust: ## Only the tests of the crates.
	$(CARGO) test --workspace --locked --no-fail-fast

console: ## Builds the console; the next build of the program has it (Node 20).
	scripts/console.sh

test-console: ## Only the tests of the console: vectors, units, and every page in a real browser.
	CONSOLE_NEEDED=1 scripts/console.sh
	@# As test-rust builds it: by itself the program has other features, and all that it stands on is built anew.
	$(CARGO) test --workspace --locked --no-run
	cd console && npm run --silent test && npm run --silent e2e

fuzz: ## Fuzzes every decoder for FUZZ_SECONDS.
	$(CARGO) xtask fuzz --seconds $(FUZZ_SECONDS)

bench: ## Measures, with the machine's facts and a baseline in the same run.
	$(CARGO) xtask bench

lint: ## Formatting, clippy, documentation, and the checks of the source tree.
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@# There are no examples. Who documents them has the features of the tests, as clippy just did, and checks nothing anew.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --lib --bins --examples
	$(CARGO) xtask tidy
	@if [ -n "$$CI" ] || command -v npm >/dev/null; then \
	        CONSOLE_NEEDED=1 scripts/console.sh && cd console && npm run --silent check; \
	    else echo "no npm here: the console is not checked"; fi
	@$(CARGO) tree --quiet --locked --depth 0 --manifest-path fuzz/Cargo.toml >/dev/null || \
	    { echo "fuzz/Cargo.lock is behind: cargo update --workspace --manifest-path fuzz/Cargo.toml"; exit 1; }

fmt: ## Formats everything.
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

audit: ## Licences, advisories and sources of what comes from outside (needs cargo-deny).
	$(CARGO) deny check
	$(CARGO) deny --manifest-path fuzz/Cargo.toml check --config deny.toml

clean: ## Removes what was built.
	$(CARGO) clean

# The one interface of the repository. Every recipe installs what it needs (scripts/setup.sh) into a cache
# outside the tree, so that a fresh Debian 12 with `make` and `git` is enough.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.PHONY: help build build-iceberg run run-fleet test test-kernels bench fuzz lint fmt setup clean

help: ## this text
	@printf 'fleetprof: where does the CPU of the whole host go?\n\n'
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	printf '\nFirst time? `make run` installs the toolchain, builds (some minutes) and shows a live table.\n'
	printf 'Settings: RUN_FOR=30s PORT=7171 RUN_DATA=DIR (make run), FLEETPROF_CACHE=DIR, CARGO_TARGET_DIR=DIR.\n'
	printf 'More: docs/development.md\n'

build: ## release binaries fleetprof, fleetprof-agent, fleetprof-collector in target/release
	@scripts/build.sh

build-iceberg: ## release binary fleetprof-iceberg, which publishes the store as Apache Iceberg tables
	@scripts/build.sh --iceberg

run: ## collector and agent on this host, and a live table of services and functions (root or sudo)
	@scripts/run.sh

run-fleet: ## S3, PostgreSQL, three collectors and hundreds of simulated agents on this host (root or sudo)
	@scripts/run-fleet.sh

test: ## everything: build, deploy checks, all tests on the real kernel (root or sudo)
	@scripts/test.sh

test-kernels: ## the agent inside Linux 5.10 to 7.x and on arm64, in emulated machines (Debian's apt; no root)
	@scripts/test-kernels.sh

bench: ## what agent and collector cost on this host, perf beside them; the crates' benchmarks
	@scripts/bench.sh

fuzz: ## every parser of bytes from outside, a minute each, from the inputs in tests/fuzz/corpus
	@scripts/fuzz.sh

lint: ## rustfmt, clippy, cargo-deny, shellcheck, hadolint, yamllint, file sizes
	@scripts/lint.sh

fmt: ## format the Rust sources
	@scripts/setup.sh lint
	source scripts/env.sh
	"$$CARGO" fmt --all

setup: ## only install the tools that the other recipes would install
	@for group in build test lint; do scripts/setup.sh "$$group"; done

clean: ## remove target/ and the build cache; the installed tools stay
	@source scripts/env.sh
	rm -rf target "$$CARGO_TARGET_DIR"

# Everything a contributor types. `make` alone lists the targets; each sets up what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Umbel's rivals live apart: what they bring along is not for the tests.
BENCH_VENV := .venv-bench
BENCH := PYTHONPATH=$(CURDIR)/python $(CURDIR)/$(BENCH_VENV)/bin/python -m
# Tests wait for other processes most of their time. (PYTEST_ARGS="tests/unit -k name" runs some, in one process.)
TEST_PROCESSES ?= $(shell echo $$(($$(nproc) + 1)))
PACKAGE_TOOLS := pip>=25 maturin==1.16.0
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export CARGO_TERM_COLOR ?= auto
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help quickstart test test-rust test-python lint fmt bench fuzz microbench simulate services services-stop wheel develop clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the two commands of the README ------------------------------------------------------------------------------

quickstart: $(VENV)/.installed-release ## Build in release mode and run the demonstration on a SQLite file
	@$(BIN)/python examples/quickstart/run.py

test: lint test-rust test-python ## Set up everything, run every check and every test
	@echo "all checks and tests passed"

# --- parts -------------------------------------------------------------------------------------------------------

test-rust: $(VENV)/.ready services-install ## Run the Rust tests
	cargo test --workspace --exclude umbel-python --quiet

test-python: $(VENV)/.installed-dev services-install ## Run the Python tests and the stub test
	cd $(VENV) && MYPYPATH=../python ../$(BIN)/python -m mypy.stubtest umbel._native --mypy-config-file ../pyproject.toml
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),--numprocesses $(TEST_PROCESSES) --dist loadfile)

lint: $(VENV)/.installed-dev ## Check format, lints and types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check python tests examples benches
	$(BIN)/ruff check python tests examples benches
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

fmt: $(VENV)/.ready ## Format the code
	cargo fmt --all
	$(BIN)/ruff format python tests examples benches
	$(BIN)/ruff check --fix --quiet python tests examples benches || true

simulate: ## Run seeded histories of engines in trouble (SIM_ARGS="--histories 100000 --seed 1", "--replay 7")
	cargo run --release --quiet -p umbel-testkit --bin simulate -- $(SIM_ARGS)

fuzz: ## Look for bytes that break a parser (FUZZ_ARGS="--seconds 600 --jobs 2 --target json")
	@scripts/fuzz $(FUZZ_ARGS)

microbench: ## Measure the Rust codecs, engine and child link (MICROBENCH_ARGS="task_headers ...")
	cargo bench --quiet -p umbel-protocol --bench codec -- $(MICROBENCH_ARGS)
	cargo bench --quiet -p umbel-broker --bench redis -- $(MICROBENCH_ARGS)
	cargo bench --quiet -p umbel-worker --bench engine --bench link -- $(MICROBENCH_ARGS)

bench: bench-tools ## Measure Umbel beside other task queues (BENCH_ARGS="--quick", BENCH_ARGS="--help")
	cargo build --release --locked --quiet -p umbel-broker --example delaying_proxy
	$(BENCH) benches.run --proxy $${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/examples/delaying_proxy $(BENCH_ARGS)

profile: bench-tools ## Draw flame graphs of a worker under load (PROFILE_ARGS="--help")
	cargo build --release --locked --quiet -p umbel-python
	$(BENCH) benches.profile --extension $${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/lib_native.so $(PROFILE_ARGS)

.PHONY: bench-tools
bench-tools: $(BENCH_VENV)/.ready $(BENCH_VENV)-redis5/.ready $(VENV)/.installed-release services-install

.PHONY: chaos soak
chaos: $(VENV)/.ready $(VENV)/.installed-release services-install ## Kill, stop and cut off workers under load (CHAOS_ARGS="--seconds 60 --seed 7")
	PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS_ARGS)

soak: $(VENV)/.ready $(VENV)/.installed-release services-install ## Watch memory and descriptors under steady load (SOAK_ARGS="--seconds 300")
	PYTHONPATH=tests $(BIN)/python -m chaos.soak $(SOAK_ARGS)

develop: $(VENV)/.installed-dev ## Build the extension for development and install the package into .venv

wheel: $(VENV)/.tools ## Build a wheel into dist/
	$(BIN)/maturin build --release --locked --out dist --interpreter $(PYTHON)

services: services-install ## Install (Debian) and start Redis on a private loopback port
	@scripts/services start

services-stop: ## Stop what `make services` started
	@scripts/services stop

.PHONY: services-install
services-install:
	@scripts/services install

clean: ## Remove what was built
	rm -rf target dist $(VENV) $(BENCH_VENV) $(BENCH_VENV)-redis5 .services
	find python -name '*.so' -delete

# --- set-up ------------------------------------------------------------------------------------------------------

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name '*.lua' -o -name '*.sql' -o -name Cargo.toml)

$(VENV)/.tools:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(foreach tool,$(PACKAGE_TOOLS),"$(tool)")
	@touch $@

$(VENV)/.ready: requirements-dev.txt $(VENV)/.tools
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

define install-bench
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet -r $<
	@touch $@
endef

$(BENCH_VENV)/.ready: benches/requirements.txt
	$(install-bench)

$(BENCH_VENV)-redis5/.ready: benches/requirements-redis5.txt
	$(install-bench)

# One extension at a time lives in the source tree; the newer of the two marks says which.
$(VENV)/.installed-dev: $(VENV)/.ready $(RUST_SOURCES) pyproject.toml
	$(BIN)/maturin develop --locked --quiet
	@rm -f $(VENV)/.installed-release; touch $@

$(VENV)/.installed-release: $(VENV)/.tools $(RUST_SOURCES) pyproject.toml
	$(BIN)/maturin develop --release --locked
	@rm -f $(VENV)/.installed-dev; touch $@

# Python 3.11+ and make are all this needs; everything else goes into .venv and .tools.
PYTHON ?= python3
BIN    := .venv/bin
SOURCES := router statemachine provisioner tests

.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt bench compiled proof machine chaos lock proto docs tools clean

# uv believes the CAs that this machine believes, where it has any: a company's proxy may have its own.
SYSTEM_CAS := $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem)
export UV_SYSTEM_CERTS ?= $(if $(SYSTEM_CAS),true,false)

# Hundreds of processes start in the tests: each would compile what it imports anew.
export PYTHONDONTWRITEBYTECODE :=

# The programs below tests/ find what they share with the tests; pytest and mypy have it in pyproject.toml.
bench proof chaos: export PYTHONPATH := $(CURDIR)/tests/kit:$(CURDIR)/tests/bench:$(CURDIR)/tests/chaos

help:  ## What can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(if $(filter ec2,$(PROVISIONER)),.venv/.demo-ec2,.venv/.run)  ## Start Torpor on this machine and watch it hold, wake, build and sleep (PROVISIONER=ec2 plays EC2, ONCE=1 ends)
	@$(BIN)/torpor demo $(if $(PROVISIONER),--provisioner $(PROVISIONER)) $(if $(ONCE),--once)

test: .venv/.dev tools  ## Every test, in parallel, against real parts
	$(BIN)/pytest -n auto --dist worksteal --durations=10 --durations-min=1

lint: .venv/.dev  ## Formatting, lint, types and the arrows between packages
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/.dev  ## Format and fix what can be fixed
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lock: .venv/bin/uv  ## Write requirements/*.txt anew from pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --group dev pyproject.toml -c requirements/run.txt -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --extra demo-ec2 pyproject.toml -c requirements/dev.txt -o requirements/demo-ec2.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --group bench pyproject.toml -c requirements/dev.txt -o requirements/bench.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 requirements/buildgrid.in -o requirements/buildgrid.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 requirements/bootstrap.in -o requirements/bootstrap.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --group compile -c requirements/dev.txt -o requirements/compile.txt

bench: .venv/.bench  ## Torpor beside Envoy, nginx and grpc.aio; writes docs/bench.md and docs/bench.png (SHORT=1: two minutes)
	@.ci/compiled --into bench-results/compiled
	$(BIN)/python -m doorbench $(if $(SHORT),--short)
	$(BIN)/python tests/bench/bench_ec2.py $(if $(SHORT),--short)
	$(BIN)/python tests/bench/bench_lifecycle.py $(if $(SHORT),--short)
	$(BIN)/python tests/bench/bench_fleet.py $(if $(SHORT),--short)

compiled: .venv/.dev  ## A wheel with the relay compiled, for this Python and kind of machine, into dist/; needs a C compiler
	@.ci/compiled $(if $(CHECK),--check)

proof: .venv/.dev  ## The door's interop, conformance, abuse and leak tests, long forms too; writes docs/proof.md
	@mkdir -p bench-results && rm -f bench-results/proof.xml
	$(BIN)/pytest -q -m "slow or not slow" --junitxml=bench-results/proof.xml tests/router/interop tests/router/conformance tests/router/abuse || true
	$(BIN)/python -m doorkit.proof bench-results/proof.xml docs/proof.md

machine: .venv/.dev  ## A satellite on a real machine: QEMU, systemd, hibernation; root, most of an hour (CHECK=firewall for one)
	@.ci/machine $(CHECK)

chaos: .venv/.dev  ## Break a deployment in every way known and see that it holds (SHORT=1: a minute; SEED=1, WAKES=20000, PROVISIONER=ec2 or vm)
	$(BIN)/python tests/chaos/fuzz_relay.py --seconds $(if $(SHORT),10,180)
	$(BIN)/python tests/chaos/fuzz_tenants.py --seconds $(if $(SHORT),10,900)
	$(BIN)/python -m chaoskit $(if $(PROVISIONER),--provisioner $(PROVISIONER)) $(if $(SHORT),--short) $(if $(SEED),--seed $(SEED)) $(if $(WAKES),--wakes $(WAKES))

tools: .venv/bin/uv  ## The real clients and workers that tests run against, as far as they can be had
	@.ci/tools

proto: .venv/.dev  ## Generate the gRPC code anew from the .proto files
	@.ci/proto router && .ci/proto provisioner && .ci/proto tests/kit

docs: .venv/.dev  ## Write the pages that are generated from the code
	$(BIN)/python .ci/docs

clean:  ## Remove what make made
	rm -rf .venv .tools .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# One uv, pinned with its hash, then everything else from the locks: no other way in.
.venv/bin/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Torpor needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

.venv/.run: .venv/bin/uv requirements/run.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/.demo-ec2: .venv/.run requirements/demo-ec2.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/demo-ec2.txt
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.bench: .venv/.dev requirements/bench.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt
	@touch $@

# Everything a newcomer needs: `make demo` and `make test`. Both set up what they need; Python 3.11+, git and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements-dev.lock pyproject.toml | cksum | cut -d' ' -f1)

# Some images turn Python's byte code cache off, and then every process of every test compiles the gateway anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: conformance profiles reference image image-test help setup demo test test-peers check format try bench soak golden peers apt lock clean

help:            ## show this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY)  ## make the virtual environment from the hashed lock

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Isobridge needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q gateway $(VENV)/lib || true
	@rm -f $(VENV)/.ready-*; touch $@

demo: setup      ## start a gateway, push invented studies, show the FHIR; ONCE=1 verifies and ends
	$(BIN)/isobridge demo $(if $(ONCE),--once)

test: setup      ## all tests that need nothing but Python (and the sample data, where it is)
	$(BIN)/python -m pytest --only plain -q -n 3 --dist worksteal $(PYTEST_ARGS)

test-peers: setup apt peers  ## the tests against real peers: DCMTK, Orthanc, PostgreSQL, other clients
	$(BIN)/python -m pytest --only peers -q -n 3 --dist worksteal $(PYTEST_ARGS)

check: setup     ## formatting, lint, types, layers, mappings, settings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py
	$(BIN)/isobridge mappings lint
	$(BIN)/isobridge mappings test | tail -n 1
	$(BIN)/isobridge config check > /dev/null
	$(BIN)/isobridge config check --config config/production.yaml --set mappings.directory=mappings > /dev/null

format: setup    ## rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# `make try FILE=x.dcm` or `make try x.dcm`
try: setup       ## one file through the pipeline: issues first, then its FHIR
	@$(BIN)/isobridge try "$(or $(FILE),$(filter-out try,$(MAKECMDGOALS)))"

# `make bench receive convert` or `make bench`; a quick look: `make bench query BENCH_ARGS="--observations 5000 --runs 1"`
BENCHES := receive convert normalise query
bench: setup apt  ## ratios against peers in one run: make bench receive convert normalise query
	@tests/peers.sh dicom2fhir sekmet-fhir
	$(BIN)/python -m tests.benchmarks $(or $(filter $(BENCHES),$(MAKECMDGOALS)),$(BENCHES)) $(BENCH_ARGS)

soak: setup apt  ## 200 random kills while sending, 60 power cuts, every crash point; by hand, it takes long
	ISOBRIDGE_CUTS=60 $(BIN)/python -m pytest -q -s tests/acceptance/test_power_cut.py tests/acceptance/test_crash_points.py --timeout 7200
	ISOBRIDGE_KILLS=200 $(BIN)/python -m pytest -q -s tests/acceptance/test_nothing_acknowledged_is_lost.py --timeout 7200
	ISOBRIDGE_KILLS=100 $(BIN)/python -m pytest -q -s tests/acceptance/test_doors.py -k kill --timeout 7200
	ISOBRIDGE_FUZZ_MINUTES=$${ISOBRIDGE_FUZZ_MINUTES:-120} $(BIN)/python -m pytest -q -s tests/unit/test_fuzz.py

golden: setup    ## write the golden files anew; read the diff before you commit it
	$(BIN)/python -m pytest -q tests/unit/test_golden.py --update-golden

peers: setup     ## virtual environments of other people's clients, for the tests
	@tests/peers.sh fhirpy sekmet-fhir fhir-pyrate dicomweb-client fhirclient smart-fetch tables node

apt:
	@tests/apt.sh

lock:            ## resolve the dependencies anew (needs uv on the PATH)
	uv pip compile -q --generate-hashes --python-version 3.11 --universal --no-emit-index-url --no-emit-find-links --no-header \
	  pyproject.toml -o requirements.lock
	uv pip compile -q --generate-hashes --python-version 3.11 --universal --no-emit-index-url --no-emit-find-links --no-header \
	  --extra dev pyproject.toml -o requirements-dev.lock

conformance: setup  ## write the tables of docs/dicom-conformance.md from the code
	$(BIN)/python -m gateway.workbench.conformance

profiles: setup  ## write our FHIR definitions and their guide pages (gateway/r4/conformance, docs/profiles)
	$(BIN)/python -m gateway.workbench.definitions
	$(BIN)/python -m gateway.workbench.profile_guide

reference: setup ## write docs/mapping-reference.md from the definition of the mapping language
	$(BIN)/python -m gateway.workbench.mapping_reference

image:           ## build the container image isobridge:latest (docker, or podman as root without a daemon)
	@tests/apt.sh
	deploy/build-image.sh

image-test: setup apt  ## build it and run it: read-only root, DCMTK sender, FHIR query, SIGTERM, a new container on the same data
	$(BIN)/python -m pytest -q tests/acceptance/test_image.py $(PYTEST_ARGS)

clean:           ## remove what make made, never data/
	rm -rf $(VENV) .peers .mypy_cache .ruff_cache .pytest_cache

# Words after `make try` and `make bench` are arguments, not targets.
ifneq ($(filter try bench,$(firstword $(MAKECMDGOALS))),)
$(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS)):
	@:
.PHONY: $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
endif

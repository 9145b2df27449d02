# Everything runs in .venv, which is made at first use from the files in locks/ (hashes checked).
# Another Python:  make clean && make demo PYTHON=/path/to/python3.13

SHELL := bash
VENV := .venv
PY := $(VENV)/bin/python
DEMO_PORT ?= 8080
DEMO_IDP_PORT ?= 8081
PYTEST_ARGS ?=
# How many processes share the tests; tests/conftest.py says which tests stay together.
PYTEST_PROCESSES ?= 2
PACKAGING := scripts/install.sh locks/uv.txt setup.cfg pyproject.toml
PEER := tests/peers/oidc-provider

export DEMO_PORT DEMO_IDP_PORT
# Without compiled modules every start of an Airflow process takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-check demo-reset test lint mutate bench lock clean

# A checkout that was moved or copied, or whose Python went away, gets a new environment.
ifneq ($(shell $(PY) -c 'print(open("$(VENV)/root").read().strip())' 2>/dev/null),$(CURDIR))
$(shell rm -f $(VENV)/*.stamp)
endif

help:  ## this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: demo-check $(VENV)/demo.stamp  ## Airflow with sign-in and a local identity provider, on DEMO_PORT (8080) and DEMO_IDP_PORT (8081)
	@exec $(PY) -m demo

# Before minutes of installing, not after. Needs a Python, but nothing installed.
demo-check:
	@python=$(PY); $$python -c '' 2>/dev/null || python=$$(scripts/find_python.sh); $$python -m demo --check

demo-reset:  ## forget the demo's database, secrets and logs
	rm -rf .demo

test: $(VENV)/dev.stamp  ## install what the tests need, lint, and run every test; PYTEST_ARGS=... for pytest
	@scripts/install_test_tools.sh
	@scripts/install_peer.sh $(PEER)
	@$(MAKE) --no-print-directory lint
	$(PY) -m pytest -n $(PYTEST_PROCESSES) --dist loadgroup $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp  ## ruff and mypy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

mutate: $(VENV)/dev.stamp  ## switch off one check at a time in a scratch copy, and see a test fail for each
	$(PY) scripts/mutate.py

bench: $(VENV)/dev.stamp  ## measure, side by side in one run, what the docs say about time
	$(PY) -m benchmarks.abandoned_attempts
	$(PY) -m benchmarks.session_check
	$(PY) -m benchmarks.revoking_among_many
	$(PY) -m benchmarks.ending_access
	$(PY) -m benchmarks.reading_directories
	$(PY) -m benchmarks.deciding
	$(PY) -m benchmarks.mapping_diff

lock:  ## move the locked versions to the newest that fit
	@scripts/install.sh uv
	scripts/lock.sh

clean:  ## remove the environment, the demo's data and everything that was generated
	rm -rf $(VENV) .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage* \
		test-artifacts $(PEER)/node_modules tests/peers/simplesamlphp/.package*
	find airflow_sso demo devidp templates tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/demo.stamp: $(PACKAGING) locks/airflow-3.3.txt
	@scripts/install.sh demo

$(VENV)/dev.stamp: $(PACKAGING) locks/airflow-3.3-dev.txt
	@scripts/install.sh dev

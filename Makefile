# Everything runs in .venv, which is made at first use from the files in locks/ (hashes checked); what
# is tested on Airflow 2.11 too runs in .venv-2.11.
# Another Python:  make clean && make demo PYTHON=/path/to/python3.13   (for 2.11: PYTHON_2_11=...)

SHELL := bash
VENV := .venv
VENV_2_11 := .venv-2.11
PY := $(VENV)/bin/python
PY_2_11 := $(VENV_2_11)/bin/python
DEMO_PORT ?= 8080
DEMO_IDP_PORT ?= 8081
PYTEST_ARGS ?=
CELLS ?=
# How many processes share the tests: one more than two cores, because a process often waits for its servers.
# tests/conftest.py says which tests stay together.
PYTEST_PROCESSES ?= 3
PACKAGING := scripts/install.sh scripts/find_python.sh locks/uv.txt setup.cfg pyproject.toml
PEER := tests/peers/oidc-provider

export DEMO_PORT DEMO_IDP_PORT PYTEST_ARGS
# Without compiled modules every start of an Airflow process takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-check demo-reset test test-check test-postgresql test-2.11 matrix lint mutate bench lock clean

# A checkout that was moved or copied, or whose Python went away, gets a new environment.
define forget_if_moved
ifneq ($$(shell $(1)/bin/python -c 'print(open("$(1)/root").read().strip())' 2>/dev/null),$$(CURDIR))
$$(shell rm -f $(1)/*.stamp)
endif
endef
$(foreach environment,$(VENV) $(VENV_2_11),$(eval $(call forget_if_moved,$(environment))))

help:  ## this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z0-9.-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: demo-check $(VENV)/airflow-3.3.stamp  ## Airflow with sign-in and a local identity provider, on DEMO_PORT (8080) and DEMO_IDP_PORT (8081)
	@exec $(PY) -m demo

# Before minutes of installing, not after. Needs a Python, but nothing installed.
demo-check:
	@python=$(PY); $$python -c '' 2>/dev/null || python=$$(scripts/find_python.sh locks/airflow-3.3.in); $$python -m demo --check

demo-reset:  ## forget the demo's database, secrets and logs
	rm -rf .demo

test: test-check $(VENV)/airflow-3.3-dev.stamp $(VENV_2_11)/airflow-2.11-dev.stamp  ## install what the tests need, lint, and run every test; PYTEST_ARGS=... for pytest
	@scripts/install_test_tools.sh
	@scripts/install_peer.sh $(PEER)
	@$(MAKE) --no-print-directory lint
	$(PY) -m pytest -n $(PYTEST_PROCESSES) --dist loadgroup $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory test-postgresql test-2.11

# Before minutes of installing, not after: both lines of Airflow have a Python that they run on.
test-check:
	@$(PY) -c '' 2>/dev/null || scripts/find_python.sh locks/airflow-3.3.in >/dev/null
	@$(PY_2_11) -c '' 2>/dev/null || scripts/find_python.sh locks/airflow-2.11.in >/dev/null

# Of some tests only. That nothing is selected is an error, unless it was PYTEST_ARGS that selected.
some_tests = -m pytest -n $(PYTEST_PROCESSES) --dist loadgroup $(1) $(PYTEST_ARGS) || \
	{ status=$$?; [ $$status = 5 ] && [ -n "$$PYTEST_ARGS" ]; }

test-postgresql: $(VENV)/airflow-3.3-dev.stamp  ## those tests that write to the database, on PostgreSQL
	$(PY) $(call some_tests,-m database --database postgresql)

test-2.11: $(VENV_2_11)/airflow-2.11-dev.stamp  ## those tests that run on Airflow 2.11 as well; two replicas of it have PostgreSQL
	$(PY_2_11) $(call some_tests,-m both_lines)

# The first two cells of it run in the environments of the tests.
matrix: test-check $(VENV)/airflow-3.3-dev.stamp $(VENV_2_11)/airflow-2.11-dev.stamp  ## a sign-in, a sign-out and a leaver on every set of versions that we support; CELLS=... for some
	$(PY) scripts/matrix.py $(CELLS)

lint: $(VENV)/airflow-3.3-dev.stamp  ## ruff and mypy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

mutate: $(VENV)/airflow-3.3-dev.stamp  ## switch off one check at a time in a scratch copy, and see a test fail for each
	$(PY) scripts/mutate.py

bench: $(VENV)/airflow-3.3-dev.stamp  ## measure, side by side in one run, what the docs say about time
	$(PY) -m benchmarks.abandoned_attempts
	$(PY) -m benchmarks.session_check
	$(PY) -m benchmarks.revoking_among_many
	$(PY) -m benchmarks.ending_access
	$(PY) -m benchmarks.reading_directories
	$(PY) -m benchmarks.deciding
	$(PY) -m benchmarks.mapping_diff

lock:  ## move the locked versions to the newest that fit
	@scripts/install.sh $(VENV) locks/uv.txt
	scripts/lock.sh

clean:  ## remove the environments, the demo's data and everything that was generated
	rm -rf $(VENV) $(VENV_2_11) .venv-matrix .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage* \
		test-artifacts $(PEER)/node_modules tests/peers/simplesamlphp/.package*
	find airflow_sso demo devidp templates tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Of what depends on a line of Airflow, the line is in the name of the lock file.
$(VENV)/airflow-3.3.stamp $(VENV)/airflow-3.3-dev.stamp: $(VENV)/%.stamp: locks/%.txt $(PACKAGING)
	@scripts/install.sh $(@D) $<

$(VENV_2_11)/airflow-2.11-dev.stamp: $(VENV_2_11)/%.stamp: locks/%.txt $(PACKAGING)
	@scripts/install.sh $(@D) $<

# Every target makes .venv from requirements.lock if it is missing or out of date.
PYTHON ?= python3.11
BIN := .venv/bin
NATIVE := $(wildcard native/* native/src/*)

.PHONY: demo test test-all bench lint clean

demo: .venv/ready
	$(BIN)/holdfast run workflow:egamma-hardened --out holdfast-out
	@$(BIN)/holdfast frontier holdfast-out --objective "auc[split=test]:max" \
		--objective "latency[batch=1]:min" --objective "critical_sdc_rate[site=output]:min" \
		--objective "auc[stressor=gaussian_noise,sigma_gev=0.3]:max"
	@echo "report: holdfast-out/report.html"

test: .venv/ready lint
	$(BIN)/pytest -m "not slow" -n auto --dist loadfile --cov --cov-report=term:skip-covered

test-all: .venv/ready lint
	$(BIN)/pytest

bench: .venv/ready
	$(BIN)/python -m benchmarks

lint: .venv/ready
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/ready: requirements.lock pyproject.toml $(NATIVE)
	command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is needed: install it, or say PYTHON=... "; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

clean:
	rm -rf .venv build holdfast-out .coverage

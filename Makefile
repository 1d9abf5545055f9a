# From a fresh clone, `make demo` and `make test` do all set-up themselves.
# Nothing here needs more than GNU make 3.81, which is what macOS has.

PYTHON ?= python3
python := .venv/bin/python
made   := $(PYTHON) in $(CURDIR)

.PHONY: help demo test lint bench bench-sharing clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

demo: .venv/ready  ## import the sample mail, contacts and events, and show them
	@$(python) -m examples.pim demo

test: lint  ## check the code with ruff and mypy, then run the tests
	@echo "pytest"
	@$(python) -m pytest --quiet

lint: .venv/ready  ## check the code with ruff and mypy
	@echo "ruff check"
	@$(python) -m ruff check --quiet
	@echo "mypy --strict"
	@$(python) -m mypy --no-error-summary

bench: .venv/ready  ## measure, and write doc/performance.rst; see also bench-sharing
	@$(python) benchmarks/core.py

bench-sharing: .venv/ready  ## measure beside ZEO and Durus, and write doc/performance-sharing.rst
	@$(python) benchmarks/sharing.py

clean:  ## remove .venv, build products and caches
	@rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: setup.cfg pyproject.toml scripts/setup scripts/system
	@scripts/setup "$(PYTHON)" "$(made)"

# Made with another Python, moved, or left behind by an upgrade: make .venv again.
ifneq ($(shell $(python) -c 'import berkeleydb' 2>/dev/null && cat .venv/ready),$(made))
.PHONY: .venv/ready
endif

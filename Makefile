# From a fresh clone, `make demo` and `make test` do all set-up themselves.
# Nothing here needs more than GNU make 3.81, which is what macOS has.

PYTHON ?= python3
JOBS   ?= auto
python := .venv/bin/python
made   := $(PYTHON) in $(CURDIR)

.PHONY: help demo test lint bench bench-quick bench-sharing bench-browser screenshots clean
.PHONY: damage faults fuzz model mutations powercuts pure sanitize soak torture

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

demo: .venv/ready  ## import the sample mail, contacts and events, and show them; BROWSE=0 then ends
	@$(python) -m examples.pim demo $(if $(filter 0,$(BROWSE)),,--browse)

test: lint  ## check the code with ruff and mypy, then run the tests
	@scripts/tools
	@echo "pytest"
	@$(python) -m pytest --quiet --numprocesses=$(JOBS) --dist=worksteal

pure: .venv/ready  ## run the tests without the modules in C
	@ATOP_NATIVE=0 $(python) -m pytest --quiet --numprocesses=$(JOBS) --dist=worksteal

sanitize: .venv/ready  ## look for wrong accesses to memory in the modules in C (gcc)
	@scripts/sanitize $(python)

lint: .venv/ready  ## check the code with ruff and mypy
	@echo "ruff check"
	@$(python) -m ruff check --quiet
	@echo "mypy --strict"
	@$(python) -m mypy --no-error-summary

bench: .venv/ready  ## measure, and write doc/performance.rst; see also bench-sharing
	@$(python) -m pip install --quiet --editable '.[bench]'
	@$(python) benchmarks/core.py

bench-quick: .venv/ready  ## count calls, syncs and blocks of memory, beside what they may be
	@$(python) benchmarks/counts.py

bench-sharing: .venv/ready  ## measure beside ZEO and Durus, and write doc/performance-sharing.rst
	@$(python) benchmarks/sharing.py

bench-browser: .venv/ready  ## measure beside Datasette, and write doc/performance-browser.rst
	@$(python) benchmarks/browsing.py

damage: .venv/ready  ## damage every kind of file in every way, and count what comes of it
	@$(python) -m tests.damage_matrix

mutations: .venv/ready  ## take out what promises stand on, part by part: a test has to fail
	@$(python) -m tests.mutations

screenshots: .venv/ready  ## take the pictures in doc/screenshots
	@scripts/tools
	@$(python) -m tests.web.screenshots

EVERY   ?= 1
MINUTES ?= 10
faults: .venv/ready  ## let each system call of a store fail, each EVERY=1 of them (Linux, strace)
	@$(python) -m tests.faults --every $(EVERY)

fuzz: .venv/ready  ## feed it bytes that nobody meant, for MINUTES=10 (Linux)
	@$(python) -m pip install --quiet --editable '.[fuzz]'
	@$(python) -m tests.fuzz --minutes $(MINUTES)

torture: .venv/ready  ## kill processes at every step for MINUTES=10, and lose nothing (Linux)
	@$(python) -m tests.torture --minutes $(MINUTES)

soak: .venv/ready  ## let programs work for MINUTES=10, better 60, and see that nothing grows (Linux)
	@$(python) -m tests.soak --minutes $(MINUTES)

EXAMPLES ?= 1000
model: .venv/ready  ## try EXAMPLES=1000 random sequences of calls against plain dicts
	@MODEL_EXAMPLES=$(EXAMPLES) $(python) -m pytest --quiet tests/test_model.py

CUTS ?= 1000
powercuts: .venv/ready  ## cut the power CUTS=1000 times in a recorded run, and recover (Linux)
	@$(python) -m tests.powercuts --cuts $(CUTS)

clean:  ## remove .venv, build products and caches
	@rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: setup.cfg setup.py pyproject.toml $(wildcard atop/_*.[ch] atop/engine/_*.c) \
             scripts/setup scripts/system
	@scripts/setup "$(PYTHON)" "$(made)"

# Made with another Python, moved, or left behind by an upgrade: make .venv again.
ifneq ($(shell $(python) -c 'import berkeleydb' 2>/dev/null && cat .venv/ready),$(made))
.PHONY: .venv/ready
endif

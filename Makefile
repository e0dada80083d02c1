# Each target makes the environment that it needs: any of them works as the first command after a clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.installed-dev
EMBEDDED := $(VENV)/.installed-embedded

# The demo needs far less than development does; but what is installed already need not be installed again.
DEMO_READY := $(if $(wildcard $(DEV)),$(DEV),$(EMBEDDED))

# Most tests wait for processes and timers, so two at a time take little more than half as long; each has servers of
# its own. `make test PARALLEL=` runs one after another.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist worksteal

# Folders that are checked, as far as they exist.
SOURCES := $(wildcard capelin tests examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: promtool help demo mutate simulate chaos soak fuzz audit test check format bench bench-full bench-failover types lint redis-server

help:  ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1|/' | column -t -s '|'

demo: $(DEMO_READY)  ## watch workers share real work, and their leader die; needs neither root nor Redis
	@$(BIN)/capelin demo

test: $(DEV) redis-server promtool  ## run every test; ARGS="tests/x.py -k name" for some
	$(BIN)/pytest $(PARALLEL) $(ARGS)

fuzz: $(DEV) redis-server  ## hand what makes no sense to all that reads something; CASES=100000; ARGS="--seed url:42" for one
	$(BIN)/python -m tests.fuzz --cases $(or $(CASES),100000) $(ARGS)

mutate: $(DEV) redis-server  ## break the protocol in a hundred ways and see that a test notices each; ARGS='--only "reap forgets"'
	$(BIN)/python -m tests.mutation $(ARGS)

simulate: $(DEV)  ## play simulated fleets; SEEDS=10000 for many, ARGS="--seed 42 --shrink" for one
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),200) $(ARGS)

chaos: $(DEV) redis-server  ## break real processes for MINUTES=10, and account for every job; ARGS="--kills 100" measures
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10) $(ARGS)

soak: $(DEV) redis-server  ## let a fleet work for MINUTES=120, and see that nothing grows
	$(BIN)/python -m tests.chaos.soak --minutes $(or $(MINUTES),120)

audit: $(DEV)  ## ask whether a dependency has a known hole; needs the network, and is for a schedule, not for each commit
	@$(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit || \
		{ echo "pip-audit cannot be had here: nothing was asked"; exit 2; }
	@$(BIN)/pip freeze --exclude-editable > build/audit/installed.txt
	@build/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement build/audit/installed.txt > build/audit/said.txt 2>&1; \
		status=$$?; cat build/audit/said.txt; \
		[ $$status = 0 ] || grep -q 'Found .* known vulnerabilit' build/audit/said.txt || \
		echo "It could not be asked about everything: this is no all-clear, and no finding either."; exit $$status

check: lint types  ## formatting, lint and strict types: what CI demands before the tests

lint: $(DEV)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(DEV)
	$(BIN)/pyright $(SOURCES)
	$(BIN)/mypy $(SOURCES)

format: $(DEV)  ## format, and fix what lint can fix
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(DEV) redis-server  ## measure; prints ratios to a bare loop and to peers: under 15 minutes
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: $(DEV) redis-server  ## measure everything, the long scenarios too, and draw: an hour and more
	$(BIN)/python -m benchmarks --full --jobs 20000 --plots docs/performance --json build/benchmarks-full.json $(ARGS)

bench-failover: $(DEV) redis-server  ## measure how long the lead is vacant when its holder ends
	$(BIN)/python -m benchmarks.failover $(ARGS)

$(DEV): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(EMBEDDED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[embedded]'
	@touch $@

# What checks Prometheus's rules is one program of Debian's package, which is unpacked and not installed: that would start
# a server. Where it cannot be had, the tests that use it are skipped.
promtool: $(DEV)
	@if ! command -v promtool >/dev/null && [ ! -x $(BIN)/promtool ] && command -v apt-get >/dev/null; then \
		folder=$$(mktemp -d) && chmod 755 $$folder && cd $$folder && \
		{ apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; } >/dev/null 2>&1 && \
		dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool && cp usr/bin/promtool $(CURDIR)/$(BIN)/ \
		|| echo "promtool cannot be had: tests that need it are skipped"; \
		rm -rf "$$folder"; \
	fi

# The tests start servers of their own on free ports; only the program is needed, not the service that a package
# starts. Without root they go on: on a laptop what needs a server is skipped, with CI=true it fails.
redis-server:
	@if ! command -v redis-server >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server; \
		else \
			echo "redis-server is not installed and cannot be installed without root: tests that need it are skipped"; \
		fi; \
	fi

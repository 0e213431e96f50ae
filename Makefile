# Every target creates .venv when it is missing. PYTHON=python3.12 make demo chooses the interpreter.
PYTHON ?= python3
VENV   := .venv/.installed
BIN    := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint bench soak clean

demo: $(VENV)  ## label every neuron of a real model; the result is in ./autolabel-demo
	$(BIN)/autolabel demo $(DEMO)

test: $(VENV)  ## lint, types and all tests but the soak, in a process per core; make test TESTS=tests/cli runs some
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal $(TESTS)

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)  ## every number to hold, as ratios in one run -> eval/reports/bench.md
	$(BIN)/python -m eval.bench

soak: $(VENV)  ## the repeated cases (kills, flips, bombs) in full
	$(BIN)/pytest -m soak --timeout 3600

$(VENV): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[demo,dev]'
	touch $@

clean:
	rm -rf .venv build dist autolabel-demo

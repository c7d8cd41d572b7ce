# Everything shares one virtual environment; the stamp makes a second run install nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= out/report

.PHONY: report test test-all bench browser lint docs readme clean
.DELETE_ON_ERROR:

# Status 1 means that the report found something that is not rounding: it is written all the same.
report: $(STAMP)
	$(BIN)/precision report default -o $(OUT) || [ $$? -eq 1 ]

# Each worker takes whole files, as their fixtures are dear; more than four need more memory than they save time.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test: $(STAMP) browser
	$(PYTEST)

test-all: $(STAMP) browser
	$(PYTEST) -m "slow or not slow" --examples 5

# The pages are tested in a real Chromium: the one that is here, else Debian's, else Playwright's.
browser: $(STAMP)
	$(BIN)/python tests/reports/browser_install.py

bench: $(STAMP) browser
	mkdir -p out/bench
	$(BIN)/python tests/benchmarks/bench_truth.py -o out/bench/truth.json
	$(BIN)/python tests/benchmarks/bench_replay.py -o out/bench/replay.json
	$(BIN)/python tests/benchmarks/bench_tensorcore.py -o out/bench/tensorcore.json
	$(BIN)/python tests/benchmarks/bench_orders.py -o out/bench/orders.json
	$(BIN)/python tests/benchmarks/bench_verdicts.py -o out/bench/verdicts.json
	$(BIN)/python tests/benchmarks/bench_page.py -o out/bench/page.json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("precision needs Python 3.11 to 3.13; this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2] if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[all]'
	touch $(STAMP)

clean:
	rm -rf out $(VENV)

# The pages that are made from what is kept, and the notebook, which runs four small layers.
docs: $(STAMP)
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python docs/generate_orders.py
	$(BIN)/python docs/generate_studies.py
	$(BIN)/python docs/generate_example.py

readme: report docs
	$(BIN)/python docs/generate_readme.py --picture $(OUT)

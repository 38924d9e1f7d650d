# Two commands, each of which sets up all it needs: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The tests run in several processes: one thread each, or they fight for the cores.
TEST_WORKERS ?= 2

.PHONY: demo test test-all lint pictures results bench clean

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

# The slow ones too: pages of the docs, whole compilations, claims over several seeds.
test-all: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) -m ""

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pictures: .venv/ready
	$(BIN)/python examples/draw_mixture.py docs/pictures/pinwheel.png

# Beside the peers: zuko, nflows, normflows and flowjax are installed for this alone.
bench: .venv/peers
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf .venv demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch .venv/ready

.venv/peers: .venv/ready
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,peers]"
	touch .venv/peers

# The same words for ever: setup, lint, types, layers, quick, test, nightly, bench, demo, docs, check. CI runs `check` and nothing else.
PYTHON ?= python3
VENV   ?= .venv
NIGHTLY ?= .venv-nightly
BIN     = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo setup quick quick-first quick-second quick-rest test nightly lint types layers check bench bench-cluster lock dist crds docs clean

help: ## what there is to run
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

# What a machine lacks is said before anything is tried.
.PHONY: machine
machine:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install Python 3.11 or newer (Debian: apt install python3 python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V): Python 3.11 or newer is needed; name one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "the venv module is missing: apt install python3-venv"; exit 1; }
	@command -v git >/dev/null || { echo "git is missing: apt install git"; exit 1; }

# One virtual environment; two stamps, so that the demo does not wait for the tools of the tests.
$(VENV)/run.stamp: requirements/run.txt pyproject.toml | machine
	@echo "installing into $(VENV), once: a minute, about 340 MB on disk"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/dev.stamp ## the virtual environment with everything in it

demo: $(VENV)/run.stamp ## the main job: a real model on three edges, changed by a commit, rolled back by git revert
	@$(BIN)/reconciler demo

# Minutes on a machine that never did it, nothing after that; here, so that no test waits for it.
.PHONY: control-plane
control-plane: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.control_plane

test: $(VENV)/dev.stamp control-plane ## all tests
	$(BIN)/python -m pytest

# Two at a time; what is said about each comes in one piece.
quick: $(VENV)/dev.stamp ## lint, types, layers and the tests that start no server: three minutes on two cores
	@$(MAKE) --no-print-directory -j2 --output-sync=target quick-first quick-second quick-rest lint types layers

QUICK = $(BIN)/python -m pytest -q -m "not e2e and not cluster and not slow"

quick-first: $(VENV)/dev.stamp
	$(QUICK) tests/unit/test_[a-h]*.py

quick-second: $(VENV)/dev.stamp
	$(QUICK) tests/unit/test_[i-z]*.py

quick-rest: $(VENV)/dev.stamp
	$(QUICK) --ignore=tests/unit

# Gigabytes (PyTorch brings CUDA), so a virtual environment of its own, which nothing else waits for.
$(NIGHTLY)/stamp: requirements/nightly.txt pyproject.toml | machine
	$(PYTHON) -m venv $(NIGHTLY)
	$(NIGHTLY)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/nightly.txt
	$(NIGHTLY)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

nightly: $(NIGHTLY)/stamp ## do what the guides for PyTorch and Keras say, with the real libraries: 8 GB, ten minutes
	$(NIGHTLY)/bin/python -m pytest -m nightly tests/e2e

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

layers: $(VENV)/dev.stamp
	$(BIN)/lint-imports

check: lint types layers test ## all that CI runs

bench: $(VENV)/dev.stamp control-plane ## every figure of the README, with its peer or limit beside it
	$(BIN)/python -m tests.bench

bench-cluster: $(VENV)/dev.stamp control-plane ## the figures of a cluster of 10,000 objects, on a real etcd and kube-apiserver
	$(BIN)/python -m tests.bench bench_cluster --json build/bench-cluster.json

docs: $(VENV)/dev.stamp control-plane ## do what README.md and docs/ say, command by command
	$(BIN)/python -m pytest tests/e2e/test_readme.py tests/e2e/test_docs.py tests/cluster/test_readme.py

crds: $(VENV)/run.stamp ## generate crds/ and the pages made of the kinds again
	$(BIN)/reconciler crds --write crds
	$(BIN)/reconciler explain --write docs

lock: $(VENV)/dev.stamp ## resolve the requirements again (needs uv)
	uv pip compile pyproject.toml --extra onnx --extra build --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements/run.txt
	uv pip compile pyproject.toml --extra onnx --extra build --extra dev -c requirements/run.txt --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements/dev.txt
	uv pip compile pyproject.toml --extra onnx --extra build --extra dev --group nightly -c requirements/dev.txt --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements/nightly.txt
	uv pip compile --group edge -c requirements/run.txt --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements/edge.txt

# The same bytes from the same commit; outside Git, hatchling's own fixed time.
dist: $(VENV)/run.stamp ## the wheel, and the source distribution it can be made from again
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 1580601600) $(BIN)/python -m hatchling build -d dist

.PHONY: dist-check
dist-check: dist ## install them as docs/install.md says, with pip and pipx into new environments: five minutes
	$(BIN)/python -m tests.dist_check

clean:
	rm -rf $(VENV) $(NIGHTLY) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# `make` lists the targets. Everything is installed into .venv; nothing outside the folder changes.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# `make demo DATA=../shared/data` trains on public data sets instead of the synthetic shop.
DATA ?=
DATA_OPTION := $(if $(DATA),--data "$(DATA)",)

.PHONY: help install demo serve test test-long unit check format stubs config models bench promote-drill load loadweb lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[triton,build,loadtest,dev]'
	touch $@

install: $(INSTALLED) ## make .venv with the pinned versions

demo: $(INSTALLED) models ## install, build the models, start everything, hold a conversation, stop
	$(BIN)/cartwright demo

serve: $(INSTALLED) models ## run the stack until Ctrl-C
	$(BIN)/cartwright serve

models: $(INSTALLED) ## train, export and publish what is not published yet (DATA=DIR for real data)
	$(BIN)/cartwright models build $(DATA_OPTION)

check: $(INSTALLED) ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(INSTALLED) ## the fast tests: no Ray, no Triton
	$(BIN)/pytest tests/unit -m "not data" -n auto

test: check ## everything: lint, types, unit, contract and integration tests
	$(BIN)/pytest tests/unit -n auto
	$(BIN)/pytest tests/integration -m "untimed and not long" -n 2 --dist loadfile --durations=5
	$(BIN)/pytest tests/contract tests/integration -m "not untimed and not long" --durations=15

test-long: $(INSTALLED) ## tests of long commands whose parts `test` covers
	$(BIN)/pytest tests/integration -m long

format: $(INSTALLED) ## format and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: $(INSTALLED) ## generate the Python stubs of commerce.proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --grpc_python_out=. --pyi_out=. serving/protos/commerce.proto

config: $(INSTALLED) ## generate config.pbtxt of every model from its spec
	$(BIN)/python -m model_build.triton_config

bench: $(INSTALLED) models ## measure everything beside the bare model, about half an hour
	$(BIN)/python loadtest/bench run --markdown docs/performance.md --plots docs/performance

promote-drill: $(INSTALLED) models ## promote and roll back a model twenty times under load
	$(BIN)/python -m loadtest.drill --json var/drill/drill.json

load: $(INSTALLED) ## load the running stack of this folder (`make serve`) for a minute
	$(BIN)/python -m loadtest --model users --shape soak --level 20 --ramp-s 3 --hold-s 22 --think-scale 0.5 --thresholds loadtest/thresholds.yaml --out var/load/users
	$(BIN)/python -m loadtest --model arrivals --shape soak --level 15 --ramp-s 3 --hold-s 22 --thresholds loadtest/thresholds.yaml --out var/load/arrivals

loadweb: $(INSTALLED) ## Locust's web page for the running stack, on http://127.0.0.1:8089
	$(BIN)/locust -f loadtest/locustfile.py --web-host 127.0.0.1 --users 20 --spawn-rate 5

lock: $(INSTALLED) ## write the installed versions into constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v ' @ ' > constraints.txt

clean: ## delete caches, state and built models; sources in build/ stay
	rm -rf var .pytest_cache .mypy_cache .ruff_cache dist
	find model_repository -mindepth 2 -maxdepth 2 -type d -exec rm -rf {} +
	find serving tests loadtest -name __pycache__ -type d -prune -exec rm -rf {} +

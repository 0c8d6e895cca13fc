# Every command of the house. A bare machine needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: serve test check unit proto bench ui locks clean help

help:  ## What can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "venv is missing: on Debian, apt-get install python3-venv"; exit 1; }
	@echo "installing the locked requirements into $(VENV) (about two minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(PY) -c 'import os, pathlib, sysconfig; packages = sysconfig.get_path("purelib"); pathlib.Path(packages, "house.pth").write_text(os.path.relpath("clients/python/src", packages))'
	@touch $@

serve: $(STAMP)  ## Train what is missing, then serve on 127.0.0.1:50051
	@$(PY) -m training.bootstrap
	@exec $(PY) -m server serve

ui: $(STAMP)  ## MLflow on the same registry, http://127.0.0.1:5000
	@$(PY) -m training.bootstrap --only-paths
	@MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(PY) -m mlflow server --workers 1 \
	  --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///mlruns/mlflow.db --artifacts-destination mlruns/artifacts

proto: $(STAMP)  ## Regenerate everything made from protos/
	@$(PY) -m tools.proto
	@$(PY) -m tools.client_methods

check: $(STAMP)  ## Format, lint, types, walls, symmetry, contract, addresses
	@$(PY) -m tools.check

unit: $(STAMP)  ## Every test that starts no server process
	@$(PY) -m pytest -q -m "not end_to_end"

test: check  ## Every check and every test
	@$(PY) -m pytest -q

bench: $(STAMP)  ## Measure speed against a bare grpcio echo
	@$(PY) -m benchmarks.speed

locks: $(STAMP)  ## Resolve requirements/ anew from pyproject.toml
	@$(PY) -m tools.locks

clean:  ## Remove what was built; models and state stay
	@rm -rf .build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Two commands matter: `make run` and `make test`. Both do all their own set-up; see README.md.

PYTHON := .venv/bin/python
TLSNIC := .venv/bin/tlsnic
# Network namespaces and TAPs: how a user gets them is in tlsnic.qemu.rights.
WITH_RIGHTS := $(PYTHON) -m tlsnic.qemu.rights
# Processes for the host tests.
JOBS ?= 2
# Another of Debian's kernels for the guest: make run KERNEL=7.2
ifdef KERNEL
export TLSNIC_LINUX := $(KERNEL)
endif

# Many images set this for a smaller image. Here it would have hundreds of processes compile all anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: run test boot shell lint bench clean help setup parts generate

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

run: parts ## boot QEMU with the card attached and run the conformance suite in the guest
	@$(WITH_RIGHTS) $(TLSNIC) conformance --guest

test: parts lint ## every test: lint, host tests, conformance on the host and in the guest
	@echo "== host tests"
	@$(WITH_RIGHTS) $(PYTHON) -m pytest tests -n $(JOBS) -q
	@echo "== conformance on the host"
	@$(WITH_RIGHTS) $(TLSNIC) conformance
	@echo "== conformance in the guest"
	@$(WITH_RIGHTS) $(TLSNIC) conformance --guest

boot: parts ## a root shell in a guest with the card, the driver and the tests at hand
	@$(WITH_RIGHTS) $(TLSNIC) boot

lint: setup ## ruff, formatter, mypy, stale generated files
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet . || { echo "fix: .venv/bin/ruff format ."; exit 1; }
	@.venv/bin/mypy
	@$(PYTHON) -m tlsnic.abi.generate --check

bench: parts ## speed and memory, each beside its baseline of the same run
	@$(TLSNIC) bench

generate: setup ## make the Python modules, C header and reference page from the hardware description
	@$(PYTHON) -m tlsnic.abi.generate

setup: # the virtual environment
	@sh ./setup.sh

parts: setup # QEMU, the guest and libvfio-user, in the cache
	@$(PYTHON) -m tlsnic.qemu.parts

clean: ## remove what was built here; the cache outside (~/.cache/tlsnic) stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist out .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

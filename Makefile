# Every target installs what it needs: Debian packages with apt (as root), Python packages into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
RUN_DEBS := python3 python3-venv runc busybox-static
TEST_DEBS := $(RUN_DEBS) containerd docker-registry skopeo umoci attr iproute2 openssl git docker.io \
	containernetworking-plugins iptables e2fsprogs erofs-utils util-linux strace xz-utils bzip2 buildah

# An editable install is not compiled by pip, and PYTHONDONTWRITEBYTECODE would have every start compile it again.
COMPILE := $(PY) -m compileall -q core plugins

.PHONY: help demo test check soak bench proto docs clean
help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.run ## start cortend on a temporary root, run a container through it, leave nothing behind
	@tools/debs.sh $(RUN_DEBS)
	@$(COMPILE)
	@$(PY) tools/demo.py

check: .venv/.dev ## the fast part: format, lint, types for linux and win32, import contracts, pure tests
	@$(COMPILE)
	@tools/check.sh

test: .venv/.dev ## everything: check, then the whole suite with real registries, runc, mounts (root)
	@tools/debs.sh $(TEST_DEBS)
	@$(COMPILE)
	@tools/check.sh --no-tests
	$(PY) -m pytest -q -n 2 --dist loadgroup $(PYTEST_ARGS)

soak: .venv/.dev ## the whole suite at the counts of the issue
	@tools/debs.sh $(TEST_DEBS)
	@$(COMPILE)
	CORTEN_SOAK=1 $(PY) -m pytest -q -n 2 --dist loadgroup --timeout 3600 $(PYTEST_ARGS)

bench: .venv/.dev ## Corten and Debian's containerd side by side; prints the table of docs/performance.md
	@tools/debs.sh $(TEST_DEBS)
	@$(COMPILE)
	PYTHONPATH=tests $(PY) bench/compare.py $(BENCH_ARGS)
	PYTHONPATH=tests $(PY) bench/pods.py

proto: .venv/.dev ## make the _pb2 modules from the .proto files anew
	$(PY) tools/genproto.py

docs: .venv/.dev ## make the generated pages of docs/ anew
	$(PY) -m corten.config.reference > docs/configuration.md
	$(PY) -m corten.plugin.drawing > docs/plugins.svg
	$(PY) -m corten.cli.reference > docs/command.md

clean: ## remove what the targets made in this folder
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

.venv/bin/python:
	@tools/debs.sh python3 python3-venv
	python3 -m venv .venv

.venv/.run: pyproject.toml | .venv/bin/python
	$(PY) -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/.run

#!/usr/bin/env bash
# check.sh [--no-tests]: format, lint, types on both platforms, import contracts, and the tests that need no root.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
$bin/ruff format --check -q .
$bin/ruff check -q .
$bin/mypy --no-error-summary
$bin/mypy --no-error-summary --platform win32 core plugins
$bin/lint-imports --no-cache >/tmp/corten-lint-imports.$$ 2>&1 || { cat /tmp/corten-lint-imports.$$; rm -f /tmp/corten-lint-imports.$$; exit 1; }
rm -f /tmp/corten-lint-imports.$$
echo "format, lint, types (linux, win32) and import contracts: ok"
[ "${1:-}" = --no-tests ] && exit 0
exec $bin/python -m pytest -q -n 2 -m "not integration"

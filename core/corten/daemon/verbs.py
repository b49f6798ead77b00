"""The verbs of `cortend config`: default, dump, migrate, check, explain. Each prints and returns an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from corten.config.document import refuse
from corten.config.explain import as_yaml, explain
from corten.config.files import read_all
from corten.config.load import load
from corten.config.merge import merge
from corten.config.migrate import migrate
from corten.plugin.loader import discover

from .boot import Flags, read


def default(flags: Flags) -> int:
    """Print every setting at its default."""
    found = discover()
    config = load([], [each.registration for each in found], flags.overrides())
    return _print(config.effective())


def dump(flags: Flags) -> int:
    """Print the configuration that a start with these flags would run with."""
    boot = read(flags)
    refuse(boot.config.problems)
    return _print(boot.config.effective())


def migrated(flags: Flags) -> int:
    """Print what the files set, in the present version; defaults are left out."""
    registrations = [each.registration for each in discover()]
    plugins = {each.uri: each.migration for each in registrations if each.migration}
    moves = [(each.uri, move) for each in registrations for move in each.moves]
    documents = [migrate(each, plugins, moves) for each in read_all(flags.config)]
    refuse(problem for each in documents for problem in each.problems)
    tree = dict(merge(documents).data)
    if "imports" in tree:  # what was imported is part of the tree now
        tree["imports"] = []
    return _print(tree)


def check(flags: Flags) -> int:
    """Print every error and every warning; 1 if there is any."""
    problems = read(flags).config.problems
    for problem in problems:
        print(f"{'warning' if problem.warning else 'error'}: {problem}", file=sys.stderr)
    if not problems:
        print("The configuration is sound.")
    return 1 if problems else 0


def explained(flags: Flags, key: str) -> int:
    """Print the value of a key, or of all keys of a section, and what set each."""
    for line in explain(read(flags).config, key):
        print(line)
    return 0


def _print(tree: Mapping[str, Any]) -> int:
    sys.stdout.write(as_yaml(tree))
    return 0

"""The command `corten` as a person uses it, against a daemon of the tests."""

import json

from daemon import Daemon


class Corten:
    """The command in a namespace of its own."""

    def __init__(self, daemon: Daemon, namespace: str) -> None:
        self._daemon, self._namespace = daemon, namespace

    def __call__(self, *args: str) -> str:
        done = self._daemon.corten(*args, namespace=self._namespace)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *args: str) -> str:
        """What it prints when it does not do it."""
        done = self._daemon.corten(*args, namespace=self._namespace)
        assert done.returncode, done.stdout
        return done.stderr

    def json(self, *args: str) -> object:
        return json.loads(self(*args, "--format", "json"))

"""`PluginRecord`: what the daemon knows of one plugin, from discovery to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from corten.errors import CortenError
from corten.values import dataclass

from .model import Registration, State


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin as the loader found it; `error` if it cannot be used, with a stand-in registration if need be."""

    registration: Registration
    distribution: str
    """Name and version of the Python distribution, e.g. `corten 0.1.0`."""
    builtin: bool
    error: BaseException | None = None

    @property
    def uri(self) -> str:
        """The registration's URI."""
        return self.registration.uri


@dataclass(slots=True, repr=False)
class PluginRecord:
    """Fulfils `PluginView`; changed only by the life cycle and by the plugin's own context."""

    registration: Registration
    distribution: str | None = None
    builtin: bool = False
    state: State = State.PENDING
    error: BaseException | None = None
    instance: object | None = None
    exports: dict[str, str] = field(default_factory=dict)
    found_capabilities: list[str] = field(default_factory=list)
    requires_resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    """How long init and start took."""

    def __repr__(self) -> str:
        return f"PluginRecord({self.uri}, {self.state}{f': {self.reason}' if self.error else ''})"

    @property
    def uri(self) -> str:
        """The registration's URI."""
        return self.registration.uri

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Those of the registration, then those found at start."""
        return (*self.registration.capabilities, *self.found_capabilities)

    @property
    def reason(self) -> str:
        """Why it is not ok, in one sentence; empty if it is."""
        return describe(self.error) if self.error else ""

    def fail(self, error: BaseException, state: State = State.ERROR) -> None:
        """Enter a state other than ok, with the reason."""
        self.state, self.error, self.instance = state, error, None


def describe(error: BaseException) -> str:
    """An error as a sentence: its message if it is one of ours, else its class and text."""
    if isinstance(error, CortenError):
        return error.message
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

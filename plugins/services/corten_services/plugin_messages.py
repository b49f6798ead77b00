"""Plugins as introspection shows them, and as `corten plugins` explains them."""

import json
import traceback
from collections.abc import Sequence

from corten.api.services.introspection.v1 import introspection_pb2 as pb
from corten.api.types.platform_pb2 import Platform
from corten.errors import Unavailable, code_of
from corten.filters import Lookup
from corten.plugin.model import PluginView, State
from corten.plugin.record import describe
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status

EXTRA_TYPE = "corten.plugin.v1+json"
"""The type URL of `explanation`."""
SKIPPED = "skip plugin"
"""The words by which containerd's clients tell a plugin that is not for this host from a broken one."""


def plugin_message(plugin: PluginView, host: str) -> pb.Plugin:
    """`host` is the platform of a plugin that names none."""
    registration = plugin.registration
    return pb.Plugin(
        type=str(registration.type),
        id=registration.id,
        requires=list(dict.fromkeys(str(each.type) for each in registration.requires)),
        platforms=[_platform(each) for each in registration.platforms or (host,)],
        exports=dict(plugin.exports),
        capabilities=list(plugin.capabilities),
        init_err=init_error(plugin),
    )


def init_error(plugin: PluginView) -> Status | None:
    """Why the plugin is not ok."""
    if plugin.state is State.OK:
        return None
    if plugin.state is State.PENDING:
        return Status(code=Unavailable.code, message="it has not started yet")
    code = code_of(plugin.error) if plugin.error else 2
    return Status(code=code, message=reason(plugin))


def reason(plugin: PluginView) -> str:
    """A sentence; for a plugin that was left out on purpose, with the words that clients look for."""
    match plugin.state:
        case State.SKIPPED:
            return f"{SKIPPED}: {plugin.error or 'not for this host'}"
        case State.DISABLED:
            return f"{SKIPPED}: it is disabled in the configuration"
        case State.ERROR:
            return describe(plugin.error) if plugin.error else "it failed"
    return ""


def explanation(plugin: PluginView) -> Any:
    """All that is known of a plugin, as JSON; the keys are stable."""
    registration = plugin.registration
    facts = {
        "uri": registration.uri,
        "state": str(plugin.state),
        "reason": reason(plugin),
        "traceback": _traceback(plugin.error) if plugin.state is State.ERROR else "",
        "summary": registration.summary,
        "distribution": plugin.distribution or "",
        "requires": [_requirement(plugin, type, chosen) for type, chosen in _resolved(plugin).items()],
        "serves": list(registration.serves),
        "platforms": list(registration.platforms),
        "capabilities": list(plugin.capabilities),
        "exports": dict(plugin.exports),
    }
    return Any(type_url=EXTRA_TYPE, value=json.dumps(facts).encode())


def plugin_lookup(plugin: PluginView) -> Lookup:
    """Filter fields: type, id, state, exports.KEY."""

    def field(path: Sequence[str]) -> str | None:
        match list(path):
            case ["type"]:
                return str(plugin.registration.type)
            case ["id"]:
                return plugin.registration.id
            case ["state"]:
                return str(plugin.state)
            case ["exports", *key] if key:
                return plugin.exports.get(".".join(key))
        return None

    return field


def _platform(text: str) -> Platform:
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    return Platform(os=os, architecture=architecture, variant=variant)


def _resolved(plugin: PluginView) -> dict[str, tuple[str, ...]]:
    """Every required type, also those for which nothing was chosen yet."""
    wanted: dict[str, tuple[str, ...]] = {str(each.type): () for each in plugin.registration.requires}
    return {**wanted, **plugin.requires_resolved}


def _requirement(plugin: PluginView, type: str, chosen: Sequence[str]) -> dict[str, object]:
    cardinality = next((str(each.cardinality) for each in plugin.registration.requires if str(each.type) == type), "")
    return {"type": type, "cardinality": cardinality, "chosen": list(chosen)}


def _traceback(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)) if error and error.__traceback__ else ""

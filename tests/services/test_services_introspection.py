"""Version, introspection and deprecation warnings."""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from platform import system
from typing import Any

import pytest
from corten.api.services.introspection.v1 import introspection_pb2 as pb
from corten.api.types.introspection_pb2 import RuntimeRequest
from corten.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from corten.plugin.model import Registration, SkipPlugin, State, each, one
from corten.plugin.types import CONTENT, DIFFER, METADATA, RUNTIME, SNAPSHOTTER, WARNING
from corten.testing.calls import Caller
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from services.doubles import REGISTRATIONS, MakeContext, MemoryRuntime, service, started


@dataclass
class View:
    """A plugin as the kernel would show it."""

    registration: Registration
    state: State = State.OK
    error: BaseException | None = None
    instance: object | None = None
    exports: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    distribution: str | None = "corten 0.1.0"
    requires_resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plugin(type: Any, id: str, *requires: Any, **fields: Any) -> View:
    return View(Registration(type=type, id=id, init=lambda _: None, requires=requires), **fields)


def failure() -> ValueError:
    try:
        raise ValueError("the tape is torn")
    except ValueError as error:
        return error


VIEWS = (
    plugin(CONTENT, "content", exports={"root": "/somewhere"}),
    plugin(SNAPSHOTTER, "overlayfs", capabilities=("remap-ids",)),
    plugin(SNAPSHOTTER, "btrfs", state=State.SKIPPED, error=SkipPlugin("/x is not on btrfs")),
    plugin(SNAPSHOTTER, "zfs", state=State.DISABLED),
    plugin(SNAPSHOTTER, "tape", state=State.ERROR, error=failure()),
    plugin(SNAPSHOTTER, "late", state=State.PENDING),
    plugin(
        METADATA,
        "lmdb",
        one(CONTENT),
        each(SNAPSHOTTER),
        requires_resolved={"io.containerd.content.v1": ("io.containerd.content.v1.content",)},
    ),
    plugin(RUNTIME, "task", instance=MemoryRuntime(), state=State.OK),
)


@pytest.fixture
def caller(make_context: MakeContext) -> Caller:
    warnings = started("io.containerd.warning.v1.deprecations", make_context())
    warnings.emit("io.corten.deprecation/old-thing", "use the new thing")
    warnings.emit("io.corten.deprecation/old-thing", "use the new thing")
    context = make_context(
        plugins={view.registration.uri: view for view in VIEWS}, instances={(WARNING, "deprecations"): warnings}
    )
    return Caller(service("introspection", context), service("version", context), namespace="")


async def test_version_is_of_containerds_form(caller: Caller) -> None:
    answer = await caller.unary("Version", Empty())
    assert [int(part) for part in answer.version.removeprefix("v").split(".")] >= [2, 0, 0]
    assert answer.revision.startswith("corten-")


async def plugins(caller: Caller, *filters: str) -> dict[str, pb.Plugin]:
    answer = await caller.unary("Plugins", pb.PluginsRequest(filters=filters))
    return {each.id: each for each in answer.plugins}


async def test_plugins_show_their_state_as_clients_read_it(caller: Caller) -> None:
    shown = await plugins(caller)
    assert list(shown) == [view.registration.id for view in VIEWS]
    assert not shown["content"].HasField("init_err")
    assert shown["content"].exports == {"root": "/somewhere"}
    assert shown["overlayfs"].capabilities == ["remap-ids"]
    assert shown["lmdb"].requires == ["io.containerd.content.v1", "io.containerd.snapshotter.v1"]
    assert shown["btrfs"].init_err.message == "skip plugin: /x is not on btrfs"
    assert shown["zfs"].init_err.message.startswith("skip plugin: ")
    assert shown["tape"].init_err.message == "ValueError: the tape is torn"
    assert "skip plugin" not in shown["tape"].init_err.message
    assert shown["late"].init_err.code == 14
    assert [platform.os for platform in shown["content"].platforms] == [system().lower()]


async def test_plugins_are_filtered(caller: Caller) -> None:
    assert list(await plugins(caller, "id==tape", "type==io.containerd.content.v1")) == ["content", "tape"]
    assert list(await plugins(caller, "state==skipped")) == ["btrfs"]
    with pytest.raises(InvalidArgument):
        await plugins(caller, "id==")


async def test_server_keeps_its_id(caller: Caller, tmp_path: Path) -> None:
    first = await caller.unary("Server", Empty())
    assert str(uuid.UUID(first.uuid)) == first.uuid
    assert first.pid == os.getpid()
    assert first.pidns == Path("/proc/self/ns/pid").stat().st_ino
    assert [(each.id, each.message) for each in first.deprecations] == [
        ("io.corten.deprecation/old-thing", "use the new thing")
    ]
    assert first.deprecations[0].last_occurrence.seconds > 0
    assert (await caller.unary("Server", Empty())).uuid == first.uuid
    (tmp_path / "root" / "uuid").write_text("torn")
    assert (await caller.unary("Server", Empty())).uuid != first.uuid


async def info(caller: Caller, type: Any, id: str, options: AnyMessage | None = None) -> Any:
    return await caller.unary("PluginInfo", pb.PluginInfoRequest(type=str(type), id=id, options=options))


async def test_a_plugin_is_explained(caller: Caller) -> None:
    answer = await info(caller, SNAPSHOTTER, "tape")
    assert answer.plugin.id == "tape"
    assert answer.extra.type_url == "corten.plugin.v1+json"
    facts = json.loads(answer.extra.value)
    assert facts["uri"] == "io.containerd.snapshotter.v1.tape"
    assert facts["state"] == "error"
    assert facts["reason"] == "ValueError: the tape is torn"
    assert "Traceback" in facts["traceback"]
    assert "in failure" in facts["traceback"]
    wanted = json.loads((await info(caller, METADATA, "lmdb")).extra.value)["requires"]
    assert wanted == [
        {"type": "io.containerd.content.v1", "cardinality": "one", "chosen": ["io.containerd.content.v1.content"]},
        {"type": "io.containerd.snapshotter.v1", "cardinality": "each", "chosen": []},
    ]


async def test_a_runtime_answers_for_itself(caller: Caller) -> None:
    options = AnyMessage(
        type_url="containerd.types.RuntimeRequest",
        value=RuntimeRequest(runtime_path="io.containerd.runc.v2").SerializeToString(),
    )
    answer = await info(caller, RUNTIME, "task", options)
    assert answer.extra == AnyMessage(type_url="containerd.types.RuntimeInfo", value=b"io.containerd.runc.v2")
    with pytest.raises(Unimplemented, match="no questions"):
        await info(caller, CONTENT, "content", options)
    with pytest.raises(InvalidArgument, match="RuntimeRequest"):
        await info(caller, RUNTIME, "task", AnyMessage(type_url="other"))
    with pytest.raises(InvalidArgument, match="RuntimeRequest"):
        await info(caller, RUNTIME, "task", AnyMessage(type_url=options.type_url, value=b"\xff"))


async def test_unknown_plugins_are_named(caller: Caller) -> None:
    with pytest.raises(NotFound, match=r"io\.containerd\.content\.v1\.nowhere"):
        await info(caller, CONTENT, "nowhere")
    with pytest.raises(InvalidArgument, match="id of the plugin"):
        await info(caller, CONTENT, "")


def test_every_service_says_what_it_serves(make_context: MakeContext) -> None:
    assert all(each.serves and each.summary for uri, each in REGISTRATIONS.items() if ".grpc.v1." in uri)


async def test_a_diff_service_without_differs_says_why(make_context: MakeContext) -> None:
    broken = make_context(failed={(DIFFER, "walking"): FailedPrecondition("no tar here")})
    with pytest.raises(FailedPrecondition, match="walking: no tar here"):
        started("io.containerd.service.v1.diff-service", broken)

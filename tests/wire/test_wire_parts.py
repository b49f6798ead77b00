"""The pure parts of the wire: method names, status texts, headers, and what a catalogue refuses."""

import logging
from typing import Any

import pytest
from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.tasks.v1 import tasks_pb2
from corten.contracts.scope import Scope
from corten.errors import BY_CODE, FailedPrecondition, Internal, InvalidArgument, NotFound
from corten.plugin.model import State
from corten.wire.catalogue import Catalogue
from corten.wire.channel import sendable
from corten.wire.methods import methods_of, snake_case
from corten.wire.scope import headers, scope_of
from corten.wire.service import Service
from corten.wire.status import MAX_TEXT, Status, shortened, status_of
from hypothesis import given
from hypothesis import strategies as st
from wire.support import SERVICE, Echo, view


@pytest.mark.parametrize(
    ("rpc", "name"),
    [
        ("Get", "get"), ("ListPids", "list_pids"), ("CloseIO", "close_io"), ("ResizePty", "resize_pty"),
        ("DeleteProcess", "delete_process"), ("ListStream", "list_stream"), ("PluginInfo", "plugin_info"),
    ],
)  # fmt: skip
def test_names_of_methods(rpc: str, name: str) -> None:
    assert snake_case(rpc) == name


def test_no_two_rpcs_of_a_service_share_a_name() -> None:
    for service in tasks_pb2.DESCRIPTOR.services_by_name.values():
        names = [snake_case(method.name) for method in service.methods]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)


@given(st.text(max_size=6000))
def test_status_text_fits_and_keeps_both_ends(text: str) -> None:
    short = shortened(text)
    assert len(short.encode()) <= MAX_TEXT
    clean = text.encode("utf-8", "replace").decode()
    assert short == clean or (clean.startswith(short[:100]) and clean.endswith(short[-100:]))


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_every_error_keeps_its_code(kind: type[Exception]) -> None:
    assert status_of(kind("object: action: cause"), "a/B") == Status(kind.code, "object: action: cause")  # type: ignore[attr-defined]


def test_stray_errors_are_unknown_and_logged_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    for error in (FileNotFoundError(2, "No such file", "/x"), KeyError("x"), TimeoutError()):
        assert status_of(error, "a/B").code == 2
    status_of(Internal("our bug"), "a/B")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4
    caplog.clear()
    status_of(NotFound("as expected"), "a/B")
    assert not caplog.records


@given(st.from_regex(r"[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) <= 76))
def test_scope_survives_the_headers(namespace: str) -> None:
    for lease in ("", "1234-ab_-"):
        scope = Scope(namespace, lease)
        assert scope_of(headers(scope)) == scope
        assert dict(sendable(headers(scope))) == headers(scope)


@given(st.dictionaries(st.sampled_from(["containerd-namespace", "containerd-lease"]), st.text(max_size=100)))
def test_any_headers_are_a_scope_or_a_clear_error(metadata: dict[str, str]) -> None:
    try:
        assert scope_of(metadata).namespace
    except (FailedPrecondition, InvalidArgument) as error:
        assert "namespace" in error.message or "lease" in error.message


def test_second_offer_of_a_service_is_named_and_not_served(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Echo(), Echo()
    catalogue = Catalogue({"first": first, "second": second})
    method = catalogue.find(f"{SERVICE}/Say")
    assert method
    assert method.run.__self__ is first  # type: ignore[attr-defined]
    assert "service corten.test.Echo of second is not served: first offers it already" in caplog.text


def test_a_failed_plugin_does_not_hide_a_service_that_another_serves() -> None:
    catalogue = Catalogue({"echo": Echo()}, view("old-echo", State.ERROR, SERVICE, error=ValueError("torn")))
    assert catalogue.find(f"{SERVICE}/Say")
    assert catalogue.refusal(f"{SERVICE}/Absent").message == f"unknown method Absent for service {SERVICE}"


def test_refusal_names_the_plugin_once() -> None:
    uri = "io.containerd.grpc.v1.tape"
    error = FailedPrecondition(f"plugin {uri}: the drive is open")
    refusal = Catalogue({}, view("tape", State.ERROR, "tape.v1.Tape", error=error)).refusal("tape.v1.Tape/Read")
    assert refusal.message == f"service tape.v1.Tape: plugin {uri} is in state error: the drive is open"


@pytest.mark.parametrize(
    ("descriptor", "path", "request_"),
    [
        (containers_pb2.DESCRIPTOR, "Containers/List", containers_pb2.ListContainersRequest),
        (tasks_pb2.DESCRIPTOR, "Tasks/List", tasks_pb2.ListTasksRequest),
    ],
)
def test_filters_have_a_bound(descriptor: Any, path: str, request_: Any) -> None:
    class Lists:
        async def list(self, request: Any, call: Any) -> None:
            """Never runs."""

    service = Service(descriptor.services_by_name[path.partition("/")[0]], Lists())
    method = next(each for name, each in methods_of(service).items() if name.endswith(path))

    def of(*filters: str) -> bytes:
        many = {"filters": filters} if "filters" in request_.DESCRIPTOR.fields_by_name else {"filter": filters[-1]}
        return bytes(request_(**many).SerializeToString())

    assert method.parse(of("id==a", "id==" + "b" * 6), 10).ByteSize() > 0
    with pytest.raises(InvalidArgument, match="11 characters is longer than the 10 allowed"):
        method.parse(of("id==a", "id==" + "b" * 7), 10)

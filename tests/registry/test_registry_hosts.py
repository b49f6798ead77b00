"""Host directories: hosts.toml and docker's certificates, as containerd reads them, and what goes beyond."""

from pathlib import Path

import pytest
from corten.errors import InvalidArgument
from corten.registry import endpoints, host_folders, hosts_toml
from corten.registry.endpoints import Endpoint
from corten.registry.hosts import is_loopback
from corten.registry.hosts_toml import CAPABILITIES, PULL, PUSH, RESOLVE, Auth, Trust
from hypothesis import given
from hypothesis import strategies as st

FULL = b"""
server = "https://registry-1.docker.io"
skip_verify = true
[host."https://z.example:8443/some/path"]
  capabilities = ["Pull", "resolve"]
  ca = ["one.pem", "/abs/two.pem"]
  client = [["a.cert", "a.key"], "both.pem"]
  dial_timeout = "1m2s"
[host."https://z.example:8443/some/path".header]
  x-one = "1"
  x-many = ["a", "b"]
[host."a.example"]
  override_path = true
  ca = "one.pem"
  client = "both.pem"
[host."a.example".auth]
  username = "ann"
  password_file = "secret"
"""


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000"])
def test_this_machine_is_trusted_without_a_certificate(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["registry.localhost", "registry.localhost:5000", "localhost.example", "10.0.0.1"])
def test_a_name_that_some_resolver_leads_here_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_every_key() -> None:
    first, second, server = hosts_toml.parse(FULL, "/d", "f")
    assert str(first.url) == "https://z.example:8443/some/path/v2/"
    assert first.capabilities == {PULL, RESOLVE}
    assert first.trust == Trust(("/d/one.pem", "/abs/two.pem"), (("/d/a.cert", "/d/a.key"), ("/d/both.pem", "")))
    assert (first.dial_timeout, first.headers) == (62.0, {"x-one": ("1",), "x-many": ("a", "b")})
    assert (str(second.url), second.capabilities) == ("https://a.example/", CAPABILITIES)
    assert second.trust == Trust(("/d/one.pem",), (("/d/both.pem", ""),))
    assert second.auth == Auth("ann", password_file="/d/secret")  # noqa: S106
    assert (str(server.url), server.trust.skip_verify) == ("https://registry-1.docker.io/v2/", True)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", [None]),
        ('server = "http://a:5000"', ["http://a:5000/v2/"]),
        ('server = "a:5000/x/v2"', ["https://a:5000/x/v2/"]),
        ('server = "https://a/x/../y//"', ["https://a/y/v2/"]),
        ('server = "https://a/x"\noverride_path = true', ["https://a/x/"]),
        ('[host."http://m"]', ["http://m/v2/", None]),
        ('fallback = false\n[host."http://m"]', ["http://m/v2/"]),
        ("fallback = false", []),
        ('[host."b"]\n[host."a"]\n[host."c"]', ["https://b/v2/", "https://a/v2/", "https://c/v2/", None]),
    ],
)
def test_which_hosts_in_which_order(text: str, urls: list[str | None]) -> None:
    assert [entry.url and str(entry.url) for entry in hosts_toml.parse(text.encode(), "/d", "f")] == urls


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "not TOML"),
        ("server = 1", "server must be a text"),
        ('capabilities = ["fly"]', "unknown capability 'fly'"),
        ("ca = 1", "ca must be"),
        ("client = [[1]]", "client must be"),
        ('client = [["a"]]', "a certificate and a key"),
        ('dial_timeout = "soon"', "not a duration"),
        ('server = "ftp://x"', "not an http"),
        ('server = "https://"', "not an http"),
        ('[host."a".auth]\nuser = "x"', "auth has no key 'user'"),
        ('[host."a".header]\nx = 1', "header x must be"),
        ('fallback = "no"', "fallback must be a boolean"),
        ("host = 3", "host must be a table"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=f"(?s)file.*{says}"):
        hosts_toml.parse(text.encode(), "/d", "file")


@given(st.binary(max_size=200) | st.text(max_size=60).map(lambda text: f'server = """{text}"""'.encode()))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    try:
        assert all(isinstance(entry.capabilities, frozenset) for entry in hosts_toml.parse(data, "/d", "f"))
    except InvalidArgument:
        pass


def test_the_folder_is_found_by_host_and_port(tmp_path: Path) -> None:
    assert host_folders.names("a:50") == ("a_50_", "a:50", "_default")
    assert host_folders.names("a") == ("a", "_default")
    assert host_folders.entries([tmp_path], "a:50") is None
    for name in ("_default", "a:50", "a_50_"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.toml").write_text(f'server = "http://{name.replace(":", "-")}"')
        (server,) = host_folders.entries([tmp_path / "none", tmp_path], "a:50") or ()
        assert server.url and server.url.host == name.replace(":", "-")
    with pytest.raises(InvalidArgument):
        host_folders.entries([tmp_path], "..")


def test_certificates_as_docker_lays_them_out(tmp_path: Path) -> None:
    folder = tmp_path / "r.example"
    folder.mkdir()
    for name in ("ca.crt", "me.cert", "me.key", "alone.cert", "README"):
        (folder / name).write_text("")
    (entry,) = host_folders.entries([tmp_path], "r.example") or ()
    assert entry.url is None
    assert entry.trust.ca == (f"{folder}/ca.crt",)
    assert entry.trust.client == ((f"{folder}/alone.cert", ""), (f"{folder}/me.cert", f"{folder}/me.key"))


def only(host: str, text: str | None = None, plain_http: bool | None = None) -> Endpoint:
    entries = None if text is None else hosts_toml.parse(text.encode(), "/d", "f")
    return endpoints.plan(host, entries, plain_http)[0]


@pytest.mark.parametrize(
    ("host", "plain", "base", "either"),
    [
        ("docker.io", None, "https://registry-1.docker.io/v2/", False),
        ("docker.io", True, "https://registry-1.docker.io/v2/", False),
        ("ghcr.io", True, "http://ghcr.io/v2/", False),
        ("localhost:5000", None, "https://localhost:5000/v2/", True),
        ("127.0.0.1", None, "https://127.0.0.1/v2/", False),
        ("localhost:80", None, "http://localhost/v2/", False),
        ("localhost:443", None, "https://localhost/v2/", False),
        ("localhost:5000", False, "https://localhost:5000/v2/", False),
        ("localhost:5000", True, "http://localhost:5000/v2/", False),
    ],
)
def test_a_registry_without_folder(host: str, plain: bool | None, base: str, either: bool) -> None:
    endpoint = only(host, None, plain)
    assert (str(endpoint.base), endpoint.either_scheme) == (base, either)
    assert endpoint.query == {}


def test_mirrors_are_told_for_whom_they_stand() -> None:
    mirror, server = endpoints.plan("docker.io", hosts_toml.parse(b'[host."http://m:5000"]', "/d", "f"))
    assert (mirror.query, mirror.name, str(mirror.base)) == ({"ns": "docker.io"}, "m:5000", "http://m:5000/v2/")
    assert (server.query, server.name, server.capabilities) == ({}, "docker.io", CAPABILITIES)
    own = only("docker.io", 'server = "https://registry-1.docker.io"')
    assert (own.query, own.name) == ({}, "docker.io")


def test_http_with_settings_for_tls_tries_tls_first() -> None:
    assert only("r", '[host."http://m:5000"]\nskip_verify = true').either_scheme
    assert not only("r", '[host."http://m:80"]\nskip_verify = true').either_scheme
    assert str(only("r", '[host."http://m:5000"]\nskip_verify = true').plain().base) == "http://m:5000/v2/"


def test_keys_that_there_are_not_are_told(caplog: pytest.LogCaptureFixture) -> None:
    text = (
        'server = "a"\nfallback = true\n[host."b"]\ncapabilites = ["pull"]\nserver = "x"\n[host."b".header]\nany = "x"'
    )
    assert len(hosts_toml.parse(text.encode(), "/d", "f")) == 2
    assert [record.message for record in caplog.records] == [
        "f: host 'b': there is no key 'capabilites' (did you mean capabilities?)",
        "f: host 'b': there is no key 'server'",
    ]


def test_capabilities() -> None:
    assert only("r", '[host."m"]\ncapabilities = ["push"]').capabilities == {PUSH}

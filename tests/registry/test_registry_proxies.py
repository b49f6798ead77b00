"""Proxies of the environment: which addresses they are for, and that requests go there."""

from pathlib import Path

import pytest
from aiohttp import web
from corten import references
from corten.errors import FailedPrecondition, Unavailable
from corten.registry.client import RegistryClient
from corten.registry.proxies import proxy
from corten.registry.retry import Retry
from lying_registry import IMAGE, serving
from yarl import URL


@pytest.fixture(autouse=True)
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("exceptions", "url", "direct"),
    [
        ("", "https://r.example", False),
        ("*", "https://r.example", True),
        ("r.example", "https://r.example", True),
        ("r.example", "https://a.r.example", True),
        ("r.example", "https://other.example", False),
        ("r.example", "https://mr.example", False),
        (".r.example", "https://a.r.example", True),
        (".r.example", "https://r.example", False),
        ("*.r.example", "https://a.r.example", True),
        ("x, R.Example", "https://r.example:5000", True),
        ("r.example:5000", "https://r.example:5000", True),
        ("r.example:5000", "https://r.example", False),
        ("r.example:443", "https://r.example", True),
        ("10.0.0.0/8,192.168.0.0/16", "https://10.1.2.3:5000", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.0.0.0/8", "https://r.example", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.1.2.3:5000", "https://10.1.2.3:5000", True),
        ("10.1.2.3:5000", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]:5000", True),
        ("fd00::1", "https://[fd00::1]", True),
        ("[fd00::1]:5000", "https://[fd00::1]:5000", True),
        ("10.0.0.0/8", "https://[fd00::1]", False),
        ("", "https://localhost:5000", True),
        ("", "https://127.3.2.1", True),
        ("", "https://[::1]:5000", True),
        (",:,x:y,/,[", "https://r.example", False),
    ],
)
def test_exceptions(exceptions: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:secret@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (proxy(URL(url)) is None) is direct


def test_by_scheme_and_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    assert proxy(URL("https://r.example")) == URL("http://proxy.example:3128")
    assert proxy(URL("http://r.example")) is None
    monkeypatch.setenv("no_proxy", "r.example")
    assert proxy(URL("https://r.example")) is None


@pytest.mark.parametrize("address", ["socks5://p:1", "http://[", "http://"])
def test_what_is_no_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(FailedPrecondition, match="HTTPS_PROXY"):
        proxy(URL("https://r.example"))


async def test_requests_go_to_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def first(request: web.Request) -> None:
        heard.append(str(request.url))

    (tmp_path / "r.example").mkdir()
    (tmp_path / "r.example" / "hosts.toml").write_text('server = "http://10.99.1.1:5000"')
    async with serving(first) as (address, _), RegistryClient(host_roots=[tmp_path], retry=Retry(1)) as client:
        monkeypatch.setenv("HTTP_PROXY", address)
        assert (await client.resolve(references.parse("r.example/x:tag"))).digest == IMAGE.target.digest
        monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:1")
        with pytest.raises(Unavailable, match=r"proxy 127\.0\.0\.1:1: Connection refused"):
            await client.resolve(references.parse("r.example/x:tag"))
    assert heard == ["http://10.99.1.1:5000/v2/x/manifests/tag?ns=r.example"]

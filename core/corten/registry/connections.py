"""One request to one host: with its TLS and headers, its login, redirects, and http where https is not spoken."""

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import field, replace

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from corten import __version__
from corten.errors import FailedPrecondition, InvalidArgument
from corten.references import Reference
from corten.values import dataclass

from . import answers
from .authority import Ask, Authority
from .credentials import Credentials, Lookup
from .endpoints import Endpoint
from .hosts_toml import Trust
from .proxies import proxy
from .tls import context

CONNECT_TIMEOUT = 30.0
STALL_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
MAX_WARNINGS = 16
"""Different warnings of registries that one client passes on."""
MAX_REDIRECTS = 10

Body = Callable[[], object]
"""Makes the body of a request, anew for each attempt: an open file, or an asynchronous iterator of parts."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a repository: `path` below it, or a `url` that the registry gave.

    `actions` are those of the token's scope.
    """

    method: str
    reference: Reference
    path: str = ""
    url: URL | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    actions: str = "pull"
    scopes: tuple[str, ...] = ()
    """Further scopes that a token must have: of the repository that a blob is mounted from."""

    @property
    def scope(self) -> str:
        return " ".join((f"repository:{self.reference.path}:{self.actions}", *self.scopes))

    def address(self, base: URL, query: Mapping[str, str]) -> URL:
        """Where to send it."""
        if self.url is not None:
            return self.url
        url = base.joinpath(*self.reference.path.split("/"), *self.path.split("/"))
        return url.update_query({**query, **self.query})


def _may_speak_http(endpoint: Endpoint, error: Exception) -> bool:
    """Whether that is how https fails with a host that speaks http: as in containerd.

    A certificate that is not trusted is none of that. Where no port is named, http has another one than https.
    """
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientProxyConnectionError():
            return False
        case aiohttp.ClientSSLError():
            return True
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return endpoint.base.explicit_port is None
    return True


Warn = Callable[[str, str], None]
"""`warn(host, text)`: a registry says something for people (deprecation, say)."""


Trace = Callable[[str], None]
"""Told a line of each header that goes out or comes in."""
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


def _dump(response: aiohttp.ClientResponse, trace: Trace) -> None:
    """Request and answer as they are on the wire, the secrets left out."""
    sent = response.request_info
    trace(f"{sent.method} {sent.real_url.raw_path_qs} HTTP/1.1")
    for name, value in sent.headers.items():
        trace(f"{name}: {'(left out)' if name.lower() in _SECRET else value}")
    trace(f"HTTP/1.1 {response.status} {response.reason or ''}".rstrip())
    for name, value in response.headers.items():
        trace(f"{name}: {'(left out)' if name.lower() in _SECRET else value}")
    trace("")


class Connections:
    """Used on one event loop; `close` ends them all. `stall` is in seconds."""

    def __init__(
        self,
        credentials: Lookup,
        ask: Ask | None,
        tls: ssl.SSLContext | None,
        headers: Mapping[str, str],
        *,
        stall: float = STALL_TIMEOUT,
        warn: Warn | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._stall = stall
        self._warn = warn
        self._trace = trace
        self._warned: set[tuple[str, str]] = set()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit_per_host=16),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=stall),
            auto_decompress=False,  # the digest is of what is sent
            read_bufsize=answers.CHUNK,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"corten/{__version__}", "Accept-Encoding": "identity"},
        )
        self._authority = Authority(self._session, credentials, ask)
        self._tls: ssl.SSLContext | bool = tls or True
        self._headers = dict(headers)
        self._contexts: dict[Trust, ssl.SSLContext] = {}
        self._known: dict[URL, Endpoint] = {}

    async def close(self) -> None:
        await self._session.close()

    async def credentials(self, endpoint: Endpoint, reference: str) -> Credentials | None:
        """Who one is at this host."""
        return await self._authority.user(endpoint, reference, ())

    async def send(self, endpoint: Endpoint, request: Request) -> aiohttp.ClientResponse:
        """The answer, whatever its status, after redirects and at most one new login at each step.

        Raises FailedPrecondition for too many redirects, Unauthenticated by the token server, and aiohttp's errors.
        """
        known = self._known.get(endpoint.base, endpoint)
        try:
            response = await self._sent(known, request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ConnectionTimeoutError) as error:
            if not known.either_scheme or request.url is not None or not _may_speak_http(known, error):
                raise
            known = endpoint.plain()
            response = await self._sent(known, request)
        # Whichever was spoken first is spoken from now on: a connection that breaks must not end in plain text.
        self._known.setdefault(endpoint.base, replace(known, either_scheme=False))
        return response

    async def _sent(self, endpoint: Endpoint, request: Request) -> aiohttp.ClientResponse:
        tls = await self._context(endpoint.trust)
        url = request.address(endpoint.base, endpoint.query)
        logged_in = False
        for _ in range(MAX_REDIRECTS):
            ours = url.origin() == endpoint.base.origin()
            own = self._own_headers(endpoint, request.scope) if ours else CIMultiDict[str]()
            headers = CIMultiDict((name, text) for name, text in request.headers.items() if name not in own)
            headers.extend(own)
            response = await self._asked(endpoint, request, url, headers, tls)
            if self._trace is not None:
                _dump(response, self._trace)
            if ours:
                self._pass_on(response)
            if response.status in answers.REDIRECTS:
                url = answers.redirected(url, response)
                logged_in = False
            elif (
                response.status != 401
                or not ours
                or logged_in  # signed tokens are new each time, and open no more than the one before
                or not await self._logged_in(endpoint, request, response, own.get("Authorization", ""), tls)
            ):
                return response
            else:
                logged_in = True
            response.release()
        raise FailedPrecondition(
            f"registry {endpoint.registry}: more than {MAX_REDIRECTS} redirects for {request.path or url.path}"
        )

    async def _asked(
        self, endpoint: Endpoint, request: Request, url: URL, headers: CIMultiDict[str], tls: ssl.SSLContext | bool
    ) -> aiohttp.ClientResponse:
        """One answer. Raises InvalidArgument for headers that cannot be sent, and aiohttp's errors."""
        try:
            _check_names(headers)
            return await self._session.request(
                request.method,
                url,
                headers=headers,
                data=request.body() if request.body else None,
                allow_redirects=False,
                proxy=proxy(url),
                ssl=tls,
                timeout=self._timeout(endpoint),
            )
        except aiohttp.ClientError:
            raise
        except ValueError as error:
            raise InvalidArgument(
                f"registry {endpoint.registry}: the request cannot be sent: {error} (look at the headers given to it, "
                "and at the credentials)"
            ) from error

    def _pass_on(self, response: aiohttp.ClientResponse) -> None:
        """What the registry itself warns of, each text once."""
        if self._warn is None:
            return
        host = answers.authority(response.url)
        for text in answers.warnings(response):
            if (host, text) not in self._warned and len(self._warned) < MAX_WARNINGS:
                self._warned.add((host, text))
                self._warn(host, text)

    def _own_headers(self, endpoint: Endpoint, scope: str) -> CIMultiDict[str]:
        """Those for the host alone, which a redirect to another one must not carry along.

        A login takes the place of an Authorization that is configured, however that is written.
        """
        headers = CIMultiDict(self._headers)
        for name in endpoint.headers:
            headers.popall(name, None)
        headers.extend(endpoint.header)
        headers.update(self._authority.header(endpoint, scope))
        return headers

    async def _logged_in(
        self,
        endpoint: Endpoint,
        request: Request,
        response: aiohttp.ClientResponse,
        sent: str,
        tls: ssl.SSLContext | bool,
    ) -> bool:
        challenges = response.headers.getall("WWW-Authenticate", [])
        return await self._authority.answer(endpoint, str(request.reference), request.scope, challenges, sent, tls)

    async def _context(self, trust: Trust) -> ssl.SSLContext | bool:
        if trust == Trust():
            return self._tls
        if trust not in self._contexts:
            self._contexts[trust] = await asyncio.to_thread(context, trust)
        return self._contexts[trust]

    def _timeout(self, endpoint: Endpoint) -> aiohttp.ClientTimeout:
        connect = CONNECT_TIMEOUT if endpoint.dial_timeout is None else endpoint.dial_timeout
        return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=self._stall)


def _check_names(headers: CIMultiDict[str]) -> None:
    """Raises ValueError for one that is no token (https://www.rfc-editor.org/rfc/rfc9110#name-tokens)."""
    for name in headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name[:64]!r} is no name of a header")


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

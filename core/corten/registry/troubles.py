"""Why a registry cannot be reached, in words that say what to look at; of the HTTP library's errors."""

import os
import socket
import ssl

import aiohttp

_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes for a certificate whose issuer is not known or not trusted (`openssl verify`)."""
_EXPIRED = 10
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


def is_lasting(error: BaseException) -> bool:
    """Whether it will be the same in a few seconds: a name that does not exist, a certificate, plain http for TLS."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return error.os_error.errno == socket.EAI_NONAME
        case aiohttp.ClientConnectorCertificateError():
            return True
        case aiohttp.ClientSSLError():
            return getattr(error.os_error, "reason", "") in _NO_TLS
        case aiohttp.ClientHttpProxyError():
            return error.status < 500
    return False


def trouble(error: BaseException) -> str:
    """One clause, with the remedy where there is one."""
    match error:
        case aiohttp.ClientProxyConnectionError():
            return (
                f"proxy {error.host}:{error.port}: {_of_system(error.os_error)} (HTTPS_PROXY, NO_PROXY of the daemon)"
            )
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answers with status {error.status} (HTTPS_PROXY, NO_PROXY of the daemon)"
        case aiohttp.ClientConnectorCertificateError():
            return _of_certificate(error.certificate_error)
        case aiohttp.ClientSSLError():
            return _of_tls(error.os_error)
        case aiohttp.ClientConnectorDNSError():
            return f"no host has that name: {_of_system(error.os_error)} (check the image's name, and DNS)"
        case aiohttp.ClientConnectorError():
            return _of_system(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time"
        case aiohttp.ServerTimeoutError():
            return "no byte came for too long"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
    return str(error) or type(error).__name__


def _of_system(error: OSError) -> str:
    # A failure of name look-up has its own numbers, and its own text; several addresses are one text without a number.
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def _of_certificate(error: Exception) -> str:
    code, words = getattr(error, "verify_code", 0), getattr(error, "verify_message", "") or str(error)
    remedy = " (name its authority with `ca` in the registry's host directory)" if code in _UNTRUSTED else ""
    return f"its certificate is not valid: {words}{' (or the clock is wrong)' if code == _EXPIRED else remedy}"


def _of_tls(error: OSError) -> str:
    reason = getattr(error, "reason", "") if isinstance(error, ssl.SSLError) else ""
    if reason in _NO_TLS:
        return "it does not speak TLS (for plain http: `http://` in its host directory, or --plain-http)"
    return f"TLS fails: {(reason or str(error)).replace('_', ' ').lower()}"

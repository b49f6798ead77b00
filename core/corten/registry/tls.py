"""TLS contexts as host directories describe them."""

import ssl
from collections.abc import Callable
from functools import partial

from corten.errors import InvalidArgument, mapped

from .hosts_toml import Trust


def context(trust: Trust) -> ssl.SSLContext:
    """The system's authorities and those of `trust`, with its client certificates. Reads files.

    Raises InvalidArgument for a file that is no certificate, NotFound and PermissionDenied for one not to be read.
    """
    made = ssl.create_default_context()
    # As Go, and so containerd, takes authorities: the one named is trusted, whoever signed it, and old ones may lack
    # extensions that Python demands since 3.13.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for file in trust.ca:
        _load(f"certificate authority {file}", partial(made.load_verify_locations, cafile=file))
    for certificate, key in trust.client:
        _load(f"client certificate {certificate}", partial(made.load_cert_chain, certificate, key or None, _nobody))
    if trust.skip_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _nobody() -> str:
    """In the place of whoever would be asked for a passphrase on the terminal, for as long as it takes."""
    raise InvalidArgument("its key has a passphrase (store it without one)")


def _load(what: str, load: Callable[[], None]) -> None:
    with mapped(f"{what}: cannot read"):
        try:
            load()
        except InvalidArgument as error:
            raise InvalidArgument(f"{what}: {error.message}") from error
        except ssl.SSLError as error:
            raise InvalidArgument(f"{what}: it is not a PEM file with what is needed: {error}") from error

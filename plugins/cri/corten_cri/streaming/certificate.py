"""A certificate that vouches for itself, made at the start and kept in memory only."""

import datetime
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

VALID = datetime.timedelta(days=365)


def load_self_signed(context: ssl.SSLContext, names: Sequence[str]) -> None:
    """Make a key and a certificate for `names` (host names and addresses), and have `context` use them."""
    key, certificate = _make(names)
    with tempfile.TemporaryDirectory(prefix="corten-tls-") as folder:  # 0700; OpenSSL reads keys from files only
        file = Path(folder, "pair.pem")
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as opened:
            opened.write(key + certificate)
        context.load_cert_chain(file)


def _make(names: Sequence[str]) -> tuple[bytes, bytes]:
    from cryptography import x509  # here: few hosts want it, and it takes memory
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corten streaming")])
    others: list[x509.GeneralName] = [_general_name(name) for name in names]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> "GeneralName":
    from cryptography import x509

    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)

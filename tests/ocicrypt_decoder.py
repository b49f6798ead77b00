"""A stream processor that decrypts what skopeo encrypts for an RSA key, as imgcrypt's `ctd-decoder` does.

It is called as that one is: `--decryption-keys-path FOLDER`, the payload on descriptor 3, the layer on standard input.
https://github.com/containers/ocicrypt (encryption.go); RFC 7516 for the wrapped key (JWE, RSA-OAEP, A256GCM).
"""

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path
from typing import Any as Json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.any_pb2 import Any

ENC = "org.opencontainers.image.enc."


def main(folder: Path) -> None:
    with open(3, "rb") as pipe:
        payload = Any.FromString(pipe.read())
    assert payload.type_url == "io.containerd.ocicrypt.v1.Payload", payload.type_url
    annotations = json.loads(payload.value)["Descriptor"]["annotations"]
    private = _unwrapped(json.loads(base64.b64decode(annotations[f"{ENC}keys.jwe"])), folder)
    public = json.loads(base64.b64decode(annotations[f"{ENC}pubopts"]))
    secret = base64.b64decode(private["symkey"])
    data = sys.stdin.buffer.read()
    if hmac.digest(secret, data, hashlib.sha256) != base64.b64decode(public["hmac"]):
        sys.exit("the layer is not what was encrypted")
    nonce = base64.b64decode(private["cipheroptions"]["nonce"])
    sys.stdout.buffer.write(Cipher(algorithms.AES(secret), modes.CTR(nonce)).decryptor().update(data))


def _unwrapped(wrapped: dict[str, str], folder: Path) -> Json:
    for path in folder.iterdir():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303  (RFC 7518, 4.3)
        try:
            content_key = key.decrypt(_bytes(wrapped["encrypted_key"]), oaep)
        except ValueError:
            continue
        sealed = _bytes(wrapped["ciphertext"]) + _bytes(wrapped["tag"])
        return json.loads(AESGCM(content_key).decrypt(_bytes(wrapped["iv"]), sealed, wrapped["protected"].encode()))
    sys.exit("no suitable key found")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


if __name__ == "__main__":
    main(Path(sys.argv[sys.argv.index("--decryption-keys-path") + 1]))

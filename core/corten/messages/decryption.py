"""What the decoder of encrypted layers is told of a layer: its descriptor, whose annotations have the wrapped keys.

Without it `ctd-decoder` decrypts nothing. The keys are the decoder's own, of this machine: what containerd's CRI calls
the key model `node`. https://github.com/containerd/imgcrypt (`payload.go`, `cmd/ctd-decoder`).
"""

import json
from collections.abc import Mapping

from google.protobuf.any_pb2 import Any

from corten.contracts.descriptor import Descriptor
from corten.oci_image import documents

DECODERS = ("io.containerd.ocicrypt.decoder.v1.tar", "io.containerd.ocicrypt.decoder.v1.tar.gzip")
"""The ids of stream processors that take such a payload."""
_TYPE = "io.containerd.ocicrypt.v1.Payload"


def payloads(layer: Descriptor) -> Mapping[str, bytes]:
    """By the id of the stream processor; none for a layer that is not encrypted."""
    if not layer.media_type.endswith("+encrypted"):
        return {}
    told = {"DecryptConfig": {"Parameters": None}, "Descriptor": documents.as_document(layer)}
    payload = Any(type_url=_TYPE, value=json.dumps(told).encode()).SerializeToString()
    return dict.fromkeys(DECODERS, payload)

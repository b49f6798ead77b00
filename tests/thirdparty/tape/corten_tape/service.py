"""A gRPC service made without generated code: a descriptor of two lines and an object."""

from collections.abc import Sequence
from itertools import chain

from corten.contracts.metadata import Metadata
from corten.contracts.metrics import Metric
from corten.pools import Pools
from corten.tallies import Tally
from corten.wire.service import CallContext, Service, cancellable
from google.protobuf import descriptor_pb2, descriptor_pool, wrappers_pb2
from google.protobuf.descriptor import ServiceDescriptor


def descriptor() -> ServiceDescriptor:
    """`example.tape.v1.Tape` with `Count(StringValue) -> StringValue`."""
    proto = descriptor_pb2.FileDescriptorProto(
        name="example/tape.proto",
        package="example.tape.v1",
        dependency=["google/protobuf/wrappers.proto"],
        syntax="proto3",
    )
    value = ".google.protobuf.StringValue"
    proto.service.add(name="Tape").method.add(name="Count", input_type=value, output_type=value)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(proto.SerializeToString())
    return pool.FindServiceByName("example.tape.v1.Tape")


class Tape:
    """Counts the images of the caller's namespace."""

    def __init__(self, metadata: Metadata, pools: Pools) -> None:
        self._metadata = metadata
        self._pools = pools
        self.counted = Tally("tape_counts_total", "Times that the images were counted.", ("namespace",))

    @cancellable
    async def count(self, request: wrappers_pb2.StringValue, call: CallContext) -> wrappers_pb2.StringValue:
        self.counted.add(call.scope().namespace)
        images = self._metadata.images(call.scope())
        names = await self._pools.run("metadata", lambda: [image.name for image in images.walk()])
        return wrappers_pb2.StringValue(value=f"{request.value}{len(list(chain(names)))}")


class TapeProvider:
    """What the plugin is; it takes part in the metrics because it has `tell_metrics`."""

    def __init__(self, metadata: Metadata, pools: Pools) -> None:
        self._tape = Tape(metadata, pools)
        self.services: Sequence[Service] = (Service(descriptor(), self._tape),)

    async def tell_metrics(self) -> Sequence[Metric]:
        return [self._tape.counted.metric()]

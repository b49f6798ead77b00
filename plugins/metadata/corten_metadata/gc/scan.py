"""Reading the store into the collector's world: one pass over all objects."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from corten_metadata import names, records, resources, schema
from corten_metadata.codec import Decoder
from corten_metadata.expiry import expires_at
from corten_metadata.namespaces import every
from corten_metadata.transactions import Reading

from . import nodes
from .further import Sessions
from .labels import LabelFacts, facts
from .nodes import Node
from .world import Facts, Graph, World

_KINDS = {resources.CONTENT: nodes.CONTENT, resources.IMAGES: nodes.IMAGE, resources.INGESTS: nodes.INGEST}


def world(view: Reading, pins: Iterable[Node], sessions: Sessions) -> World:
    """Everything that is there."""
    made = World({}, set(pins), nodes.REMOVABLE | sessions.kinds, sessions.references)
    held: defaultdict[tuple[str, int], list[Node]] = defaultdict(list)
    leases: dict[tuple[str, int], Node] = {}
    for key, value in view.entries(schema.OBJECTS, schema.OBJECTS):
        namespace, kind, rest = _split(key)
        if kind == schema.LEASED:
            held[namespace, int.from_bytes(rest[:8], "big")].append(_leased(namespace, rest, value))
        elif kind != schema.CHILD:
            node, observed = _object(namespace, kind, rest, value, sessions.labels)
            made.objects[node] = observed
            if kind == schema.LEASE:
                leases[namespace, _lease_number(rest, value)] = node
    for at, node in leases.items():
        references = (*held[at], *sessions.leased(node.namespace, node.key))
        made.objects[node] = replace(made.objects[node], references=references)
    _add_further(made, view, sessions)
    return made


def news(view: Reading, keys: Iterable[bytes], graph: Graph, labels: Collection[str]) -> Iterator[Node]:
    """What updates since the scan touched, and all that they may have made live; `graph` learns what is new."""
    for key in keys:
        value = view.get(key)
        if value is None or not key.startswith(schema.OBJECTS):
            continue
        namespace, kind, rest = _split(key)
        if kind == schema.LEASED:
            yield _leased(namespace, rest, value)
        elif kind != schema.CHILD:
            node, observed = _object(namespace, kind, rest, value, labels)
            yield from graph.update(node, observed)


def _add_further(made: World, view: Reading, sessions: Sessions) -> None:
    there = sessions.all()
    for node in there:
        made.objects[node] = Facts(facts(node.namespace, sessions.labels_of(node), sessions.labels))
    # The store knows a namespace once something is in it: the stream of a first import is there before.
    for namespace in {*every(view), *(node.namespace for node in there)} if sessions.kinds else ():
        made.extra_roots.update(sessions.active(namespace))


def _split(key: bytes) -> tuple[str, bytes, bytes]:
    """Namespace, kind and the rest of the key of an object."""
    end = key.index(b"\x00", 1)
    return str(key[1:end], "ascii"), key[end + 1 : end + 2], key[end + 2 :]


def _leased(namespace: str, rest: bytes, value: bytes) -> Node:
    resource = resources.parsed(rest[8:], value)
    kind, _, snapshotter = resource.type.partition("/")
    if kind == resources.SNAPSHOTS:
        return nodes.snapshot(namespace, snapshotter, resource.id)
    return Node(_KINDS[kind], namespace, resource.id)


def _object(namespace: str, kind: bytes, rest: bytes, value: bytes, labels: Collection[str]) -> tuple[Node, Facts]:
    snapshotter = ""
    if kind == schema.SNAPSHOT:
        raw, _, rest = rest.partition(b"\x00")
        snapshotter = str(raw, "utf-8")
    raw, data = names.unwrap(rest, value)
    name = str(raw, "utf-8")
    if kind == schema.SNAPSHOT:
        return nodes.snapshot(namespace, snapshotter, name), _snapshot(namespace, snapshotter, data, labels)
    return _plain(namespace, kind, name, data, labels)


def _snapshot(namespace: str, snapshotter: str, data: bytes, labels: Collection[str]) -> Facts:
    record = records.decode_snapshot("", data)
    parent = (nodes.snapshot(namespace, snapshotter, record.parent),) if record.parent else ()
    return Facts(facts(namespace, record.labels, labels), parent)


def _plain(namespace: str, kind: bytes, name: str, data: bytes, labels: Collection[str]) -> tuple[Node, Facts]:
    if kind == schema.INGEST:
        ingest = records.decode_ingest(name, data)
        expected = (Node(nodes.CONTENT, namespace, ingest.expected),) if ingest.expected else ()
        return Node(nodes.INGEST, namespace, name), Facts(LabelFacts(), expected, ingest.expires_at or None)
    decoder = Decoder(data)
    header = records.header(decoder)
    read = facts(namespace, header.labels, labels)
    match kind:
        case schema.LEASE:
            only = LabelFacts(flat=read.flat)
            return Node(nodes.LEASE, namespace, name), Facts(only, (), expires_at(header.labels))
        case schema.IMAGE:
            target = Node(nodes.CONTENT, namespace, decoder.text())
            return Node(nodes.IMAGE, namespace, name), Facts(read, (target,), expires_at(header.labels))
        case schema.CONTAINER:
            return Node(nodes.CONTAINER, namespace, name), Facts(read, _rootfs(namespace, decoder))
        case schema.SANDBOX:
            return Node(nodes.SANDBOX, namespace, name), Facts(read)
    return Node(nodes.CONTENT, namespace, name), Facts(read)


def _rootfs(namespace: str, decoder: Decoder) -> tuple[Node, ...]:
    snapshotter, key = decoder.text(), decoder.text()
    return (nodes.snapshot(namespace, snapshotter, key),) if snapshotter else ()


def _lease_number(rest: bytes, value: bytes) -> int:
    return records.decode_lease("", names.unwrap(rest, value)[1]).number

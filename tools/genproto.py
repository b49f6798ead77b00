"""Generate the `_pb2.py` and `_pb2.pyi` files that stand beside each `.proto` of `core/corten/api`.

Run it as `make proto` after a change of a `.proto`; a test compares the result with what is committed.
Usage: genproto.py [OUTPUT_ROOT]  (default: core/)
"""

import sys
from importlib.resources import files
from pathlib import Path

from google.rpc import status_pb2
from grpc_tools import protoc

CORE = Path(__file__).resolve().parent.parent / "core"


def main(out: Path) -> int:
    protos = sorted(str(p) for p in (CORE / "corten" / "api").rglob("*.proto"))
    includes = [str(CORE), str(files("grpc_tools") / "_proto"), str(Path(status_pb2.__file__).parents[2])]
    args = ["protoc", *(f"-I{i}" for i in includes), f"--python_out={out}", f"--pyi_out={out}", *protos]
    failed = int(protoc.main(args))
    for stub in () if failed else out.rglob("corten/api/**/*_pb2.pyi"):
        stub.write_text(_without_keywords(stub.read_text()))
    return failed


def _without_keywords(stub: str) -> str:
    """NRI has an enum value called None, which is no name for Python; in code it is found by its number, 0."""
    return "".join(line for line in stub.splitlines(keepends=True) if not line.lstrip().startswith("None: "))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORE))

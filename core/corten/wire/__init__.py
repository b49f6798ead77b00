"""RPC over gRPC and ttrpc; the only part of Corten that imports grpc."""

import os

# Read by grpc when it is first imported. Its fork handlers are for processes that fork without exec; Corten's
# children are exec'd or come from the zygote, which has no grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

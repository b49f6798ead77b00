"""gRPC servers over grpc.aio for `Service` objects: on a unix socket, and on TCP with mutual TLS."""

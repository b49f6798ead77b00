"""Protobuf messages to the records of the contracts and back: pure functions, one module for each kind of record."""

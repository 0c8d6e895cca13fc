"""The load generator: one lean gRPC client that counts calls, endings and microseconds."""

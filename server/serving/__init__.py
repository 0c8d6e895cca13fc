"""The hot path: from a request's bytes to an answer's, without gRPC and without the registry."""

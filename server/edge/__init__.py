"""The gRPC edge: ports, codes and TLS. It moves bytes and decides nothing."""

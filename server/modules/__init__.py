"""The five modules' services: one short method an RPC."""

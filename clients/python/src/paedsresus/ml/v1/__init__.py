"""Messages and service stubs of the contract, generated; never edited."""

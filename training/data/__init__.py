"""From the platform to the mart: tables, sources, validation, storage, and the simulator."""

"""Which version, artifact, arm and settings answered which request: append-only and checksummed."""

"""Which versions of a model serve, to whom, and how that changes: pure rules and their store."""

"""One file a model: its ModelSpec."""

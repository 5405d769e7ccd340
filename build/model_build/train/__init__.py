"""Training, one file a model."""

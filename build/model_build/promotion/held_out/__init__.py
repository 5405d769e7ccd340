"""Published versions of a model on samples that they did not learn from, one file a model."""

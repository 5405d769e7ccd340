"""HAProxy in front of the replicas: what it does beyond what Ray Serve configures."""

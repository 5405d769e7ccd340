"""gRPC methods: decode, call a pipeline, encode."""

"""Model hosts: one supervised tritonserver each, discovery, and the gRPC connection."""

"""A sample of live requests, masked, for replay."""

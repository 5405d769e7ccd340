"""Concurrent calls for one destination, sent together."""

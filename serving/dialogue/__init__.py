"""A conversation as pure functions over a state."""

"""What the stack remembers."""

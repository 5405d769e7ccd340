"""Plain classes, domain types in and out; each does one thing."""

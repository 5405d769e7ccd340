"""What the Python client is made of: methods, connections, attempts and errors of a call."""

"""What is known about models: client protocol, manifest, repository on disk."""

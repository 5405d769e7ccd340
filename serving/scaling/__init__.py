"""How many replicas a deployment gets: pure rules, their adapter for Ray Serve, replay of a log."""

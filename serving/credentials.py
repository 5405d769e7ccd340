"""Names of the metadata by which a caller shows a right, or asks for what needs one."""

# "Bearer <token>": the admin's.
AUTHORIZATION_KEY = "authorization"
# Versions that a caller with the admin's token wants to be answered by: "understanding=4,ranker=2".
VERSIONS_KEY = "cartwright-model-versions"

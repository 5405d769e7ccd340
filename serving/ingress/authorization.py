"""Who may change models: the holder of the admin's token."""

import hmac
from collections.abc import Mapping

from serving.credentials import AUTHORIZATION_KEY, VERSIONS_KEY
from serving.errors import InvalidRequest, PermissionDenied, Unauthenticated

_SCHEME = "bearer "


def require_admin(metadata: Mapping[str, str], token: str) -> None:
    """Passes whoever shows the token.

    Args:
        metadata: of the call.
        token: the admin's; "" lets nobody pass.

    Raises:
        Unauthenticated: no token is shown.
        PermissionDenied: another one is.
    """
    shown = metadata.get(AUTHORIZATION_KEY, "")
    if not shown.lower().startswith(_SCHEME):
        raise Unauthenticated(f"metadata {AUTHORIZATION_KEY}: a bearer token is required")
    # In a time that does not tell how much of it was right.
    if not token or not hmac.compare_digest(shown[len(_SCHEME) :].encode(), token.encode()):
        raise PermissionDenied("this token may not see or change versions of models")


def pinned_versions(metadata: Mapping[str, str], token: str) -> dict[str, int]:
    """The versions that a call asks for by number; none for most calls.

    Raises:
        InvalidRequest: the metadata are not "model=version,...".
        Unauthenticated, PermissionDenied: as `require_admin`, when versions are asked for.
    """
    text = metadata.get(VERSIONS_KEY)
    if text is None:
        return {}
    require_admin(metadata, token)
    pinned: dict[str, int] = {}
    for part in text.split(","):
        model, _, version = part.strip().partition("=")
        if not model or not version.isdecimal():
            raise InvalidRequest(VERSIONS_KEY, f"must be model=version, got {part.strip()!r}")
        pinned[model] = int(version)
    return pinned

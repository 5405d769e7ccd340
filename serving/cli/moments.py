"""Moments as people write and read them: "10m" ago, or 2026-01-31T12:00."""

import re
from datetime import UTC, datetime

from serving.errors import InvalidRequest

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def moment_ms(option: str, text: str, now_s: float) -> int:
    """A moment as Unix time: so long ago ("10m"), or an ISO 8601 time, in UTC unless it says else.

    Raises:
        InvalidRequest: it is neither; names the option.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return round((now_s - float(ago.group(1)) * _UNITS_S[ago.group(2)]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            option, f"must be like 90s, 10m, 2h, 1d or 2026-01-31T12:00, got {text!r}"
        ) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def utc(unix_ms: int) -> str:
    """A Unix time in milliseconds as "2026-01-31 12:00:00.000", in UTC."""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{unix_ms % 1000:03d}"

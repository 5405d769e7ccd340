"""Replies as JSON documents: every field present, integers as integers, enums by name."""

import json
import math
from typing import Any

import click
from google.protobuf.message import Message


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON-compatible data; a message field that is not set becomes None.

    Unlike protobuf's own JSON form, 64-bit integers stay numbers: prices and times are far below
    2**53.
    """
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def print_document(document: object) -> None:
    """Prints one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(field, item) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        # A newer server may send a value that this client has no name for.
        return known.name if known is not None else value
    if isinstance(value, float) and not math.isfinite(value):
        # JSON has no word for it.
        return None
    return value

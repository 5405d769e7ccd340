"""The contract and the class that serves it."""

from serving.ingress.agent import Ingress
from serving.protos import commerce_pb2


def methods() -> list[tuple[str, str]]:
    services = commerce_pb2.DESCRIPTOR.services_by_name
    return [(s.name, m.name) for s in services.values() for m in s.methods]


def test_method_names_differ_across_services() -> None:
    # Ray Serve dispatches on the last part of the path alone.
    names = [name for _, name in methods()]
    assert len(names) == len(set(names))


def test_every_method_is_served() -> None:
    for service, name in methods():
        assert callable(getattr(Ingress, name, None)), f"{service}/{name}"


def test_every_reply_carries_its_report() -> None:
    for service in commerce_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            fields = method.output_type.fields_by_name
            # A stream's last event holds the whole reply.
            assert "meta" in fields or "done" in fields, f"{service.name}/{method.name}"

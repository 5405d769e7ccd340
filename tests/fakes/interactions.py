"""Histories by hand."""

from model_build.data.types import Interaction


def visit(customer: str, number: int, *touches: tuple[str, str]) -> list[Interaction]:
    """One visit of a customer: (kind, product) in order; its number is also its time in s."""
    return [
        Interaction(
            customer_id=customer,
            product_id=product,
            kind=kind,
            occurred_at_ms=1000 * number + i,
            basket_id=f"{customer}-{number}",
        )
        for i, (kind, product) in enumerate(touches)
    ]


def bought(customer: str, number: int, *products: str) -> list[Interaction]:
    """A visit that consists of purchases."""
    return visit(customer, number, *(("purchase", product) for product in products))

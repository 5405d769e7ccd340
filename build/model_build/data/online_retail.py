"""The "Online Retail" data set (UCI, a British gift shop, 2010-12 to 2011-12) as a shop.

CSV lines -> purchase lines of known customers -> products, histories and orders. Knowledge articles
are those of the synthetic shop and, where they are there, the pairs of the e-commerce FAQ.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median_low

from model_build.data.articles import make_articles
from model_build.data.csv_rows import DataError, read_rows
from model_build.data.ecommerce_faq import load_faq
from model_build.data.orders import add_working_days, status_by_age
from model_build.data.policy import SHOP_POLICY
from model_build.data.retail_titles import category_of, colours_of, title_of
from model_build.data.types import Interaction, Shop
from serving.types import Article, EventKind, Order, Product

FILE = "online_retail/online_retail.csv.gz"
NAME = "online-retail"
LEAST_PURCHASES = 5
ORDERS = 4_500
_COLUMNS = (
    "invoice",
    "stock_code",
    "description",
    "quantity",
    "invoice_date",
    "unit_price",
    "customer_id",
    "country",
)
# Postage, bank charges, samples, vouchers and the like have other codes.
_PRODUCT_CODE = re.compile(r"\d{5}[A-Z]{0,2}")
# Descriptions of what is no product although its code looks like one.
_NO_PRODUCTS = frozenset({"", "NEXT DAY CARRIAGE", "PACKING CHARGE"})
_CURRENCY = "GBP"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of an invoice; prices in pence."""

    invoice: str
    product_id: str
    description: str
    quantity: int
    invoiced_at_ms: int
    price_pence: int
    customer_id: str


def load_online_retail(folder: Path) -> Shop:
    """The shop in `folder`/online_retail.

    Left out are cancellations, codes that are no products, lines without a customer and products
    bought fewer than five times. The lines of an invoice share its minute; so that their order is
    kept, the n-th product of an invoice is n milliseconds late.

    Raises:
        DataError: a file is missing or malformed; names file, line and column.
    """
    path = folder / FILE
    lines = _often_bought(list(_purchases(path)))
    if not lines:
        raise DataError(f"{path}: no product was bought {LEAST_PURCHASES} times or more")
    interactions = _interactions(lines)
    return Shop(
        name=NAME,
        products=_products(lines),
        articles=_with_faq(folder),
        customer_ids=tuple(sorted({line.customer_id for line in lines})),
        interactions=interactions,
        orders=_orders(lines),
    )


def _purchases(path: Path) -> Iterator[_Line]:
    """Lines in which a known customer bought a product, in the order of the file."""
    # There are many lines but few invoices: a moment is read once.
    moments: dict[str, int] = {}
    for number, row in read_rows(path, _COLUMNS):
        invoice, code, description, quantity_text, moment, price_text, customer_id, _ = row
        quantity = _number(path, number, "quantity", quantity_text)
        price = _number(path, number, "unit_price", price_text)
        if moment not in moments:
            moments[moment] = _milliseconds(path, number, moment)
        code = code.upper()
        if not invoice.isdigit() or not customer_id or quantity <= 0 or price <= 0:
            continue
        if not _PRODUCT_CODE.fullmatch(code) or description.strip() in _NO_PRODUCTS:
            continue
        yield _Line(
            invoice=invoice,
            product_id=code,
            description=description,
            quantity=round(quantity),
            invoiced_at_ms=moments[moment],
            price_pence=round(price * 100),
            customer_id=customer_id,
        )


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError.at(path, line, column, f"not a number: {text!r}") from error


def _milliseconds(path: Path, line: int, text: str) -> int:
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError.at(path, line, "invoice_date", f"not a date and time: {text!r}") from error
    return int(moment.timestamp()) * 1000


def _often_bought(lines: list[_Line]) -> list[_Line]:
    """Lines of products that stand on enough invoices."""
    invoices: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        invoices[line.product_id].add(line.invoice)
    return [line for line in lines if len(invoices[line.product_id]) >= LEAST_PURCHASES]


def _products(lines: Iterable[_Line]) -> tuple[Product, ...]:
    """Products in id order, each with its most usual description and its median price."""
    descriptions: dict[str, Counter[str]] = defaultdict(Counter)
    prices: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        descriptions[line.product_id][line.description] += 1
        prices[line.product_id].append(line.price_pence)
    products = []
    for product_id in sorted(descriptions):
        counts = descriptions[product_id]
        # Of equally usual ones the first in the alphabet.
        description = min(counts, key=lambda d: (-counts[d], d))
        products.append(
            Product(
                product_id=product_id,
                title=title_of(description),
                category=category_of(description),
                price_cents=median_low(prices[product_id]),
                currency=_CURRENCY,
                colours=colours_of(description),
            )
        )
    return tuple(products)


def _interactions(lines: Iterable[_Line]) -> tuple[Interaction, ...]:
    """One purchase for each product of an invoice, in time order."""
    baskets: dict[str, list[_Line]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for line in lines:
        if (line.invoice, line.product_id) not in seen:
            seen.add((line.invoice, line.product_id))
            baskets[line.invoice].append(line)
    interactions = [
        Interaction(
            customer_id=line.customer_id,
            product_id=line.product_id,
            kind=EventKind.PURCHASE.value,
            occurred_at_ms=line.invoiced_at_ms + position,
            basket_id=invoice,
        )
        for invoice, basket in baskets.items()
        for position, line in enumerate(basket)
    ]
    interactions.sort(key=lambda i: (i.occurred_at_ms, i.basket_id))
    return tuple(interactions)


def _orders(lines: Sequence[_Line]) -> tuple[Order, ...]:
    """The last invoices as orders, as they stood on the last day of the data, oldest first."""
    invoices: dict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        invoices[line.invoice].append(line)
    recent = sorted(invoices.values(), key=lambda ls: (ls[0].invoiced_at_ms, ls[0].invoice))
    today = _day(recent[-1][0])
    orders = []
    for invoice in recent[-ORDERS:]:
        placed_on = _day(invoice[0])
        expected_on = add_working_days(placed_on, SHOP_POLICY.standard_days_most)
        orders.append(
            Order(
                order_number=invoice[0].invoice,
                customer_id=invoice[0].customer_id,
                status=status_by_age(placed_on, expected_on, today),
                placed_on=placed_on.isoformat(),
                expected_on=expected_on.isoformat(),
                product_ids=tuple(dict.fromkeys(line.product_id for line in invoice)),
                total_cents=sum(line.quantity * line.price_pence for line in invoice),
                currency=_CURRENCY,
            )
        )
    return tuple(orders)


def _day(line: _Line) -> date:
    return datetime.fromtimestamp(line.invoiced_at_ms / 1000, UTC).date()


def _with_faq(folder: Path) -> tuple[Article, ...]:
    return tuple(sorted((*make_articles(), *load_faq(folder)), key=lambda a: a.article_id))

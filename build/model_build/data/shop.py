"""The synthetic shop: catalogue, knowledge, customers' histories and orders from one seed."""

import numpy as np

from model_build.data.articles import make_articles
from model_build.data.catalogue import make_products
from model_build.data.customers import HISTORY_END, make_customer_ids, simulate_histories
from model_build.data.orders import make_orders
from model_build.data.types import Shop

CUSTOMERS = 5_200
ORDERS = 4_500


def synthetic_shop(seed: int, *, customers: int = CUSTOMERS, orders: int = ORDERS) -> Shop:
    """A whole shop; the same seed and sizes always give the same one.

    Order 12345 is always there and on its way.

    Raises:
        ValueError: the customers have bought too little for so many orders, or nothing lately.
    """
    # One stream a part: a change to one part leaves the others as they were.
    for_products, for_histories, for_orders = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
    )
    products = make_products(for_products)
    customer_ids = make_customer_ids(customers)
    interactions = simulate_histories(customer_ids, products, for_histories)
    return Shop(
        name="synthetic",
        products=products,
        articles=make_articles(),
        customer_ids=customer_ids,
        interactions=interactions,
        orders=make_orders(interactions, products, orders, HISTORY_END.date(), for_orders),
    )

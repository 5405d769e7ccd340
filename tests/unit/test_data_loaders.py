"""Loaders of the public data sets, on small hand-made files good and bad."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_build.data.bitext import FILES, load_bitext
from model_build.data.csv_rows import DataError
from model_build.data.ecommerce_faq import FILE as FAQ_FILE
from model_build.data.ecommerce_faq import load_faq
from model_build.data.online_retail import FILE as RETAIL_FILE
from model_build.data.online_retail import load_online_retail
from model_build.data.retail_titles import category_of, colours_of, title_of

_BITEXT_HEADER = ("flags", "utterance", "category", "intent")
_RETAIL_HEADER = (
    "invoice",
    "stock_code",
    "description",
    "quantity",
    "invoice_date",
    "unit_price",
    "customer_id",
    "country",
)


def _write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def _bitext(folder: Path, *samples: Sequence[tuple[str, str]]) -> None:
    for name, sample in zip(FILES, (*samples, (), ()), strict=False):
        rows = [("B", text, "ORDER", intent) for text, intent in sample]
        _write(folder / "bitext" / name, [_BITEXT_HEADER, *rows])


def _line(invoice: str, code: str, **changes: str) -> list[str]:
    row = {
        "invoice": invoice,
        "stock_code": code,
        "description": f"RED MUG NUMBER {code}",
        "quantity": "2",
        "invoice_date": f"2011-11-{1 + int(invoice[-2:]) % 28:02d} 10:00:00",
        "unit_price": "2.55",
        "customer_id": "17850",
        "country": "France",
    }
    return list((row | changes).values())


def _retail(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    return _write(folder / RETAIL_FILE, [_RETAIL_HEADER, *rows])


def test_bitext_texts_are_taken_once_under_our_intents(tmp_path: Path) -> None:
    _bitext(
        tmp_path,
        [("Where is my  order?", "track_order"), ("show my bills", "check_invoice")],
        [("where is my order?", "track_order"), ("see my invoices", "check_invoices")],
    )
    utterances = load_bitext(tmp_path)
    assert [(u.text, u.intent) for u in utterances] == [
        ("Where is my order?", "track_order"),
        ("show my bills", "check_invoice"),
        ("see my invoices", "check_invoice"),
    ]
    assert all(u.slots is None and u.sentiment is None for u in utterances)
    assert all(u.out_of_scope is False for u in utterances)


def test_a_bitext_text_with_two_meanings_is_left_out(tmp_path: Path) -> None:
    _bitext(
        tmp_path,
        [("my invoice", "check_invoice"), ("refund", "get_refund")],
        [("My invoice", "get_invoice")],
    )
    assert [u.text for u in load_bitext(tmp_path)] == ["refund"]


def test_wrappings_of_one_request_are_one_group(tmp_path: Path) -> None:
    same = [
        "I want to cancel the last order",
        "could you help me cancelling the last order, please?",
        "can u ask an agent how i can cancel my fucking last order",
        "i need assistance with canceling the last order I made",
        "help me cancel the lsat order",
        "I wantto cancel the last oder",
    ]
    # Enough usual words to tell a slip of the finger by.
    padding = [f"cancel last order want want to {'very ' * n}" for n in range(1, 30)]
    other = ["cancel the purchase", "check the last order"]
    _bitext(tmp_path, [(text, "cancel_order") for text in (*padding, *same, *other)])
    groups = {u.text: u.group for u in load_bitext(tmp_path)}
    assert len({groups[text] for text in same}) == 1
    assert len({groups[same[0]], *(groups[text] for text in other)}) == 3


def test_bitext_errors_name_file_line_and_column(tmp_path: Path) -> None:
    _bitext(tmp_path, [("where is it", "track_order"), ("fly me home", "book_flight")])
    with pytest.raises(DataError, match=r"bitext_8k.*line 3, column intent: .*'book_flight'"):
        load_bitext(tmp_path)
    _bitext(tmp_path, [("where is it", "track_order"), ("  ", "track_order")])
    with pytest.raises(DataError, match=r"line 3, column utterance: it is empty"):
        load_bitext(tmp_path)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], r"line 1: the file is empty"),
        ([("flags", "text", "category", "intent")], r"line 1, column utterance: .*'text'"),
        ([("flags", "utterance", "category")], r"line 1, column intent: .*'nothing'"),
        ([(*_BITEXT_HEADER, "extra")], r"line 1, column extra: an unknown column"),
        ([_BITEXT_HEADER, ("B", "hello")], r"line 2, column category: 2 cells in the row, not 4"),
        ([_BITEXT_HEADER, ("B", "a", "b", "c", "d")], r"line 2, column intent: 5 cells"),
    ],
)
def test_misshapen_tables_are_named(
    tmp_path: Path, rows: Sequence[Sequence[str]], reason: str
) -> None:
    _write(tmp_path / "bitext" / FILES[0], rows)
    with pytest.raises(DataError, match=reason):
        load_bitext(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip at all", "after line 0: cannot be read: .*gzipped"),
        (gzip.compress(b"flags,utterance,category,intent\n")[:-9], "cannot be read"),
        (gzip.compress(b"flags,utterance,category,intent\nB,\xff,c,i\n"), "can't decode"),
    ],
    ids=["not gzip", "cut off", "not UTF-8"],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = _write(tmp_path / "bitext" / FILES[0], [])
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{FILES[0]}.*{reason}"):
        load_bitext(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{FILES[0]}.*No such file"):
        load_bitext(tmp_path)
    with pytest.raises(DataError, match=r"online_retail\.csv\.gz.*No such file"):
        load_online_retail(tmp_path)


def test_online_retail_keeps_what_known_customers_bought_often(tmp_path: Path) -> None:
    rows = [_line(f"5000{n:02d}", "10001") for n in range(6)]
    rows += [_line(f"5000{n:02d}", "10002", customer_id="17851") for n in range(10, 15)]
    rows += [_line(f"5000{n:02d}", "10003") for n in range(20, 24)]  # too rare
    rows += [_line("C500030", "10001", quantity="-2")]  # cancelled
    rows += [_line("500031", "POST", description="POSTAGE") for _ in range(9)]
    rows += [_line("500032", "10001", customer_id="")]  # nobody knows whose
    rows += [_line("500033", "10001", unit_price="0")]  # a present
    rows += [_line("500000", "10001")]  # the same product on the same invoice
    _retail(tmp_path, rows)
    shop = load_online_retail(tmp_path)
    assert shop.name == "online-retail"
    assert [p.product_id for p in shop.products] == ["10001", "10002"]
    assert shop.customer_ids == ("17850", "17851")
    assert Counter(i.product_id for i in shop.interactions) == {"10001": 6, "10002": 5}
    times = [i.occurred_at_ms for i in shop.interactions]
    assert times == sorted(times)
    assert {i.basket_id for i in shop.interactions} == {o.order_number for o in shop.orders}
    # The repeated line counts for the total of its order.
    assert {o.order_number: o.total_cents for o in shop.orders}["500000"] == 1020


def test_online_retail_products_have_their_usual_title_and_median_price(tmp_path: Path) -> None:
    changes = [
        {"description": "RED RETROSPOT MUG", "unit_price": "2.55"},
        {"description": "RED RETROSPOT MUG", "unit_price": "2.95"},
        {"description": "wrong item", "unit_price": "9.99"},
        {"description": "RED RETROSPOT MUG", "unit_price": "2.10"},
        {"description": "RED RETROSPOT MUG", "unit_price": "2.55"},
    ]
    _retail(tmp_path, [_line(f"5000{n:02d}", "10001a", **c) for n, c in enumerate(changes)])
    (product,) = load_online_retail(tmp_path).products
    assert product.product_id == "10001A"
    assert product.title == "Red Retrospot Mug"
    assert product.category == "kitchen/drinks/mugs"
    assert (product.price_cents, product.currency, product.colours) == (255, "GBP", ("red",))


def test_online_retail_orders_stand_as_on_the_last_day(tmp_path: Path) -> None:
    # 2011-11-28 is a Monday.
    days = ["01", "21", "24", "27", "28"]
    rows = [
        _line(f"5000{n:02d}", "10001", invoice_date=f"2011-11-{day} 10:00:00")
        for n, day in enumerate(days)
    ]
    _retail(tmp_path, rows)
    orders = load_online_retail(tmp_path).orders
    assert [o.status for o in orders] == ["delivered", "delivered", "shipped", "packed", "placed"]
    assert orders[2].expected_on == "2011-11-30"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("quantity", "six", "not a number: 'six'"),
        ("unit_price", "2,55", "not a number: '2,55'"),
        ("invoice_date", "12/01/2010 08:26", "not a date and time"),
    ],
)
def test_online_retail_errors_name_file_line_and_column(
    tmp_path: Path, column: str, value: str, reason: str
) -> None:
    path = _retail(
        tmp_path, [_line("500001", "10001"), _line("500002", "10001", **{column: value})]
    )
    with pytest.raises(DataError) as raised:
        load_online_retail(tmp_path)
    assert str(raised.value).startswith(f"{path}, line 3, column {column}: {reason}")


def test_online_retail_without_an_often_bought_product_is_refused(tmp_path: Path) -> None:
    _retail(tmp_path, [_line("500001", "10001")])
    with pytest.raises(DataError, match="no product was bought 5 times"):
        load_online_retail(tmp_path)


@pytest.mark.parametrize(
    ("description", "title", "category", "colours"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", None, "home/light/t-light-holders", ("white",)),
        (
            "SET OF 3  REGENCY CAKE TINS",
            "Set of 3 Regency Cake Tins",
            "kitchen/cake/cake-cases",
            (),
        ),
        ("LUNCH BAG RED RETROSPOT", None, "kitchen/bags/lunch-bags", ("red",)),
        ("JUMBO BAG PINK POLKADOT", None, "bags/shopping/jumbo-bags", ("pink",)),
        ("CHRISTMAS CANDLE", None, "seasonal/christmas/decorations", ()),
        ("BLUE FLY SWAT", "Blue Fly Swat", "gifts/other", ("blue",)),
    ],
)
def test_descriptions_are_read(
    description: str, title: str | None, category: str, colours: tuple[str, ...]
) -> None:
    assert category_of(description) == category
    assert colours_of(description) == colours
    assert title is None or title_of(description) == title


def test_the_faq_joins_the_articles(tmp_path: Path) -> None:
    assert load_faq(tmp_path) == ()
    path = tmp_path / FAQ_FILE
    path.parent.mkdir()
    path.write_text(json.dumps({"questions": [{"question": "How? ", "answer": "So."}]}))
    _retail(tmp_path, [_line(f"5000{n:02d}", "10001") for n in range(6)])
    articles = {a.article_id: a for a in load_online_retail(tmp_path).articles}
    assert (articles["faq-001"].title, articles["faq-001"].body) == ("How?", "So.")
    assert len(articles) > 320


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"questions": [}', "line 1, column 16"),
        ('{"pairs": []}', "questions: a list of entries is missing"),
        ('{"questions": [{"question": "a", "answer": " "}]}', "entry 1, answer: a text is missing"),
        ('{"questions": ["a"]}', "entry 1, question: a text is missing"),
    ],
)
def test_a_broken_faq_is_named(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / FAQ_FILE
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        load_faq(tmp_path)
    assert str(path) in str(raised.value)
    assert reason in str(raised.value)

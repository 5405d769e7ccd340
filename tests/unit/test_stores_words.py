"""Word search takes any text as a query, and none of it as syntax."""

import asyncio
import sqlite3
import string
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.stores.sqlite_database import Database
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.word_query import MOST_WORDS, word_query
from serving.types import Article

ARTICLES = [
    Article(article_id="returns", title="Returning goods", body="Send it back within 30 days."),
    Article(article_id="near", title="Shops near you", body="AND, OR, NOT: our shops near Ulm."),
    Article(article_id="cafe", title="Café vouchers", body="Valid in every café, naïve or not."),
    Article(article_id="gift", title="Gift wrapping", body="Wrapped gifts cost two euros more."),
    Article(article_id="ulm", title="Our shop in Ulm", body="Neue Straße 7, beside the river."),
    Article(article_id="order_id", title="body: title", body="article_words MATCH column filter"),
]


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteKnowledge]:
    database = Database(tmp_path_factory.mktemp("words") / "shop.sqlite", 1000)
    store = SqliteKnowledge(database)
    asyncio.run(store.upsert(ARTICLES, [None] * len(ARTICLES), "encoder/1"))
    yield store
    database.close()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        pytest.param("returned goods", "returns", id="other forms of a word"),
        pytest.param("RETURNS!!!", "returns", id="capitals and marks"),
        pytest.param("cafe", "cafe", id="without an accent"),
        pytest.param("CAFÉ", "cafe", id="capital accent"),
        pytest.param("Straße", "ulm", id="a letter that case folding would spell out"),
        pytest.param('"near" NEAR(shops you, 2)', "near", id="a NEAR query"),
        pytest.param("gift* AND (wrap* OR", "gift", id="stars and an open parenthesis"),
        pytest.param("title : column - filter ^ {body}", "order_id", id="column filters"),
        pytest.param('gift"; DROP TABLE articles; --', "gift", id="an injection"),
        pytest.param("\U0001f381 gift \U0001f381", "gift", id="emoji around a word"),
        pytest.param("gift\x00wrapping", "gift", id="a NUL inside"),
        pytest.param("gift_wrapping", "gift", id="an underscore inside"),
        pytest.param("x'67696674' gift", "gift", id="a blob literal"),
        pytest.param("gift " * 20_000, "gift", id="100 kB of one word"),
        pytest.param("gift " + "(" * 100_000, "gift", id="100 kB of parentheses"),
        pytest.param("gift " + '"' * 99_999, "gift", id="100 kB of quotes"),
        pytest.param("gift " + " ".join(map(str, range(20_000))), "gift", id="100 kB of numbers"),
    ],
)
async def test_a_query_finds_its_article(
    knowledge: SqliteKnowledge, query: str, first: str
) -> None:
    started = time.perf_counter()
    found = await knowledge.search_words(query, 3)
    assert found[0][0] == first
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("AND OR NOT", id="operators are stop words"),
        pytest.param('"', id="one quote"),
        pytest.param("NEAR(", id="an unfinished operator"),
        pytest.param("*", id="a star"),
        pytest.param("', '); SELECT 1", id="quotes"),
        pytest.param("\U0001f600" * 25_000, id="100 kB of emoji"),
        pytest.param("的" * 30_000, id="one very long word"),
        pytest.param("﷽ ̈́ ​", id="odd characters"),
    ],
)
async def test_a_query_without_words_of_the_articles_is_no_error(
    knowledge: SqliteKnowledge, query: str
) -> None:
    assert {i for i, _ in await knowledge.search_words(query, 3)} <= {"near"}


@settings(max_examples=200)
@given(
    st.text(max_size=200)
    | st.text(string.punctuation + " aANDORT", max_size=200)
    | st.lists(st.sampled_from(["AND", "OR", "NOT", "NEAR", '"', "(", ")", "*", "a:", "gift"])).map(
        " ".join
    )
)
def test_no_text_makes_a_query_that_fts5_refuses(text: str) -> None:
    query = word_query(text)
    assert query.count(" OR ") < MOST_WORDS
    if query:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
            connection.execute("SELECT * FROM words WHERE words MATCH ?", (query,)).fetchall()


@settings(max_examples=50)
@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=30))
async def test_a_word_of_an_article_finds_it(knowledge: SqliteKnowledge, word: str) -> None:
    """Python's idea of a word and the tokenizer's agree."""
    article = Article(article_id="made", title="", body=f"beginning {word} end")
    await knowledge.upsert([article], [None], "encoder/1")
    query = word_query(word)
    found = [i for i, _ in await knowledge.search_words(word, 10)]
    await knowledge.delete(["made"])
    assert not query or "made" in found

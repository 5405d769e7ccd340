"""All stores of a shop, opened together."""

from dataclasses import dataclass

from serving.errors import StartupError, StoreUnavailable
from serving.settings import StoreSettings
from serving.stores.shop_files import import_shop, shop_name
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_feedback import SqliteFeedback
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_import import ShopImport
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_sessions import SqliteSessions
from serving.stores.sqlite_shop import SqliteShop


@dataclass(frozen=True, kw_only=True)
class SqliteStores:
    """The stores over one database file."""

    database: Database
    sessions: SqliteSessions
    history: SqliteHistory
    feedback: SqliteFeedback
    knowledge: SqliteKnowledge
    shop: SqliteShop
    # What opening them imported.
    imported: ShopImport

    def close(self) -> None:
        """Ends what is under way and closes the file."""
        self.database.close()


def open_stores(settings: StoreSettings) -> SqliteStores:
    """Opens `<folder>/<shop name>.sqlite` and imports the shop if it is new. Blocks meanwhile.

    Raises:
        StartupError: the shop is missing or corrupt, or the folder cannot be used, e.g. for want of
            space; names the setting or the file, and the reason.
    """
    database = Database(
        settings.folder / f"{shop_name(settings.shop)}.sqlite", settings.busy_timeout_ms
    )
    try:
        imported = import_shop(database, settings.shop)
    except StoreUnavailable as error:
        database.close()
        raise StartupError(
            f"stores.folder: {settings.folder}: the shop cannot be imported: {error.message}"
        ) from error
    except BaseException:
        database.close()
        raise
    return SqliteStores(
        database=database,
        sessions=SqliteSessions(database),
        history=SqliteHistory(database),
        feedback=SqliteFeedback(database),
        knowledge=SqliteKnowledge(database),
        shop=SqliteShop(database),
        imported=imported,
    )

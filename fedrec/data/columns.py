"""The names of the columns of a market store, in one place."""


class Columns:
    """Columns of ``interactions.parquet`` and ``items.parquet``."""

    USER = "user_id"
    ITEM = "item_id"
    TIMESTAMP = "timestamp"  # int64, seconds since 1970-01-01 UTC
    VALUE = "value"  # float64: a rating, a quantity
    UTC_OFFSET = "utc_offset"  # int32, seconds east of UTC where the row was written; its calendar day follows it
    TITLE = "title"
    BRAND = "brand"
    CATEGORY = "category"
    FAMILY = "family"

    INTERACTIONS = (USER, ITEM, TIMESTAMP, VALUE, UTC_OFFSET)
    TEXT = (TITLE, BRAND, CATEGORY)
    ITEMS = (ITEM, *TEXT)

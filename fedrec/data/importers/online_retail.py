"""UCI Online Retail (Chen, Sain, Guo, 2012): one UK shop, its customers' countries of residence taken for markets.

The published table as CSV (``.csv``, ``.csv.gz``): InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice,
CustomerID, Country. An invoice is a basket; its rows share one minute.
"""

from pathlib import Path

import polars as pl

from fedrec.components.importer import COMMON
from fedrec.data.columns import Columns
from fedrec.data.importers.ids import MISSING
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.table import MARKET, ROW, Table, write_markets
from fedrec.data.importers.tabular import CsvFile
from fedrec.data.importers.whole import WholeImporter
from fedrec.errors import UserError

COLUMNS = {
    "CustomerID": Columns.USER,
    "StockCode": Columns.ITEM,
    "InvoiceDate": Columns.TIMESTAMP,
    "Quantity": Columns.VALUE,
    "Description": Columns.TITLE,
    "Country": MARKET,
    "InvoiceNo": "invoice",
}
_WHOLE = r"^(\d+)\.0*$"  # 85123.0, where a program took codes for numbers
_PRODUCT = r"^(\d{5}[A-Za-z]{0,2}|DCGS.*)$"  # others are postage, fees, vouchers, corrections


class OnlineRetailImporter(WholeImporter):
    """The published table, half a million rows, held as a whole."""

    options = COMMON - {"--market", "--items"}

    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """Write one store a country; what is no purchase of a product by a known customer is dropped and counted.

        Stock codes differ in case only by accident of entry and are upper-cased.
        """
        table = CsvFile(source)
        for column in COLUMNS:
            if column not in table.schema:
                raise UserError(f"{source}: column {column!r} is missing; is this the UCI table as CSV?")
        frame = pl.concat(list(table.blocks())).select(pl.col(column).alias(name) for column, name in COLUMNS.items())
        code = pl.col(Columns.ITEM).str.strip_chars().str.replace(_WHOLE, "$1")
        frame = frame.with_columns(
            pl.int_range(2, pl.len() + 2).alias(ROW), code.str.to_uppercase(), pl.col(Columns.USER).str.strip_chars()
        )
        notes = []
        drops = {
            "rows of cancelled invoices": pl.col("invoice").str.starts_with("C"),
            "rows without a customer": pl.col(Columns.USER)
            .fill_null("")
            .str.to_lowercase()
            .is_in(["", *sorted(MISSING)]),
            "rows of non-products (postage, fees, vouchers)": ~pl.col(Columns.ITEM)
            .fill_null("")
            .str.contains(_PRODUCT),
            "rows of no or negative quantity": pl.col(Columns.VALUE).cast(pl.Float64, strict=False) <= 0,
        }
        for words, condition in drops.items():
            kept = frame.filter(~condition.fill_null(False))
            notes.append(f"dropped: {frame.height - kept.height} {words}")
            frame = kept
        if frame.is_empty():
            raise UserError(f"{source}: no purchase of a product is left; is this the UCI table?")
        report = write_markets(Table(str(source), lambda: iter([frame])), directory, "UCI Online Retail", options)
        return ImportReport(report.markets, (*notes, *report.notes))

"""CSV files as people write them: what is guessed, what is said of it, and that cells are written back to the letter."""

import datetime
import gzip
import io
import math
import warnings
import zoneinfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from typer.testing import CliRunner

from anabranch.cli import app
from anabranch.cli.names import split_names
from anabranch.tables import (
    Reading,
    ReadingWarning,
    Schema,
    TableError,
    TableStream,
    read_sheet,
    read_table,
    write_table,
)
from anabranch.tables.columns import Categorical, Continuous
from anabranch.tables.encoded_stream import EncodedStream
from anabranch.tables.formulas import harmless
from anabranch.tables.number_text import NumberStyle

DAY = datetime.date


def read(tmp_path, text, **options):
    """The table of a text, and what was said of it."""
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_table(path, **options)
    assert all(issubclass(one.category, ReadingWarning) for one in caught)
    assert len(caught) <= 1
    return table, "".join(str(one.message) for one in caught)


GUESSED = {
    "semicolons and decimal commas": ("a;b\n1,5;x\n-2,25;y\n", {"a": [1.5, -2.25], "b": ["x", "y"]}, "decimal commas"),
    "tabs": ("a\tb\n1.5\tx, y\n2\tz\n", {"a": [1.5, 2.0], "b": ["x, y", "z"]}, "tabs"),
    "bars": ("a|b\n1|2\n3|4\n", {"a": [1, 3], "b": [2, 4]}, "vertical bars"),
    "Excel's first line": ("sep=;\na;b\n1;2\n", {"a": [1], "b": [2]}, ""),
    "thousands": ('a,b\n"12,345",1\n"999",2\n', {"a": [12345, 999], "b": [1, 2]}, "commas between thousands"),
    "European money": ("a;b\n1.234,50 €;1\n7,00 €;2\n", {"a": [1234.5, 7.0], "b": [1, 2]}, "'€' behind"),
    "points between thousands": ("a;b\n1.234;1,5\n7.001;2,5\n", {"a": [1234, 7001], "b": [1.5, 2.5]}, "points between"),
    "thousands or decimals": ("a;b\n1,234;1\n7,001;2\n", {"a": [1.234, 7.001], "b": [1, 2]}, "they could be commas"),
    "Swiss": ("a,b\n1'234.5,1\n7'001.25,2\n", {"a": [1234.5, 7001.25], "b": [1, 2]}, "apostrophes"),
    "spaces that do not break": (
        "a;b\n1\u00a0234,5;1\n7\u202f001,2;2\n",
        {"a": [1234.5, 7001.2], "b": [1, 2]},
        "spaces",
    ),
    "per cent": ("a,b\n45.3%,1\n7%,2\n", {"a": [45.3, 7.0], "b": [1, 2]}, "'%' behind"),
    "dollars": ('a,b\n$3.10,1\n"-$1,200.50",2\n', {"a": [3.1, -1200.5], "b": [1, 2]}, "'$' before"),
    "units": ("a,b\n12 kg,1\n3.5 kg,2\n", {"a": [12.0, 3.5], "b": [1, 2]}, "'kg' behind"),
    "books": ("a,b\n(7.25),1\n\u22125.5,2\n", {"a": [-7.25, -5.5], "b": [1, 2]}, "brackets"),
    "spaces around": ("a,b\n 1.5,x\n 2,y\n", {"a": [1.5, 2.0], "b": ["x", "y"]}, ""),
    "gaps": (
        "a,s\n1,u\n-,v\n?,w\nNone,n/a\n#N/A,NULL\n.,nan\n",
        {"a": [1, *[None] * 5], "s": ["u", "v", "w", None, None, None]},
        "'?' in 1 row",
    ),
    "Namibia": (
        "land,v\nNA,1\nDE,2\nZA,3\n",
        {"land": [None, "DE", "ZA"], "v": [1, 2, 3]},
        "'NA' in 1 row taken as a gap",
    ),
    "NA that is no land": ("sex,v\nNA,1\nmale,2\nfemale,3\n", {"sex": [None, "male", "female"], "v": [1, 2, 3]}, ""),
    "day first": (
        "d,v\n31/12/2024,1\n1/2/2024,2\n,3\n",
        {"d": [DAY(2024, 12, 31), DAY(2024, 2, 1), None], "v": [1, 2, 3]},
        "day/month/year",
    ),
    "month first": (
        "d,v\n12/31/24,1\n1/2/24,2\n",
        {"d": [DAY(2024, 12, 31), DAY(2024, 1, 2)], "v": [1, 2]},
        "month/day",
    ),
    "either": (
        "d,v\n11/12/2024,1\n1/2/2024,2\n",
        {"d": [DAY(2024, 11, 12), DAY(2024, 1, 2)], "v": [1, 2]},
        "other way",
    ),
    "either, beside a column that tells": (
        "d,e\n11/12/2024,31/1/2024\n1/2/2024,1/1/2024\n",
        {"d": [DAY(2024, 12, 11), DAY(2024, 2, 1)], "e": [DAY(2024, 1, 31), DAY(2024, 1, 1)]},
        "day/month/year",
    ),
    "points in dates": (
        "d;v\n11.12.2024;1\n1.2.2024;2\n",
        {"d": [DAY(2024, 12, 11), DAY(2024, 2, 1)], "v": [1, 2]},
        "day/",
    ),
    "names of months": (
        "d,v\n31 Dec 2024,1\n1 May 2020,2\n",
        {"d": [DAY(2024, 12, 31), DAY(2020, 5, 1)], "v": [1, 2]},
        "",
    ),
    "whole numbers as dates": (
        "d,v\n20240517,1\n20240228,2\n20231231,3\n",
        {"d": [DAY(2024, 5, 17), DAY(2024, 2, 28), DAY(2023, 12, 31)], "v": [1, 2, 3]},
        "20240517",
    ),
    "whole numbers that are none": (
        "d,v\n20240517,1\n20241301,2\n20231231,3\n",
        {"d": [20240517, 20241301, 20231231], "v": [1, 2, 3]},
        "",
    ),
    "afternoon": (
        "t,v\n1/2/2024 3:04 PM,1\n12/31/2024 12:00 AM,2\n",
        {"t": [datetime.datetime(2024, 1, 2, 15, 4), datetime.datetime(2024, 12, 31)], "v": [1, 2]},
        "month/day/year",
    ),
    "times of day": (
        "t,v\n9:05,1\n23:59:59,2\n",
        {"t": [datetime.time(9, 5), datetime.time(23, 59, 59)], "v": [1, 2]},
        "",
    ),
    "truth values": ("b,v\nTRUE,1\nFALSE,2\n,3\n", {"b": [True, False, None], "v": [1, 2, 3]}, ""),
    "zeros in front": ("zip,v\n02116,1\n94110,2\n", {"zip": ["02116", "94110"], "v": [1, 2]}, "zeros in front"),
    "zeros in front of some": ("a,v\n007,1\n1.5,2\n", {"a": ["007", "1.5"], "v": [1, 2]}, "zeros in front"),
    "twenty digits": (
        "a,v\n90000000000000000001,1\n9,2\n",
        {"a": ["9" + "0" * 18 + "1", "9"], "v": [1, 2]},
        "more digits",
    ),
    "beyond 2^53 among fractions": (
        "a,v\n9007199254740993,1\n1.5,2\n",
        {"a": ["9007199254740993", "1.5"], "v": [1, 2]},
        "more digits",
    ),
    "beyond 2^53": ("a,v\n9007199254740993,1\n1,2\n", {"a": [9007199254740993, 1], "v": [1, 2]}, ""),
    "exponents": ("a,v\n51e4,1\n7,2\n", {"a": [510000.0, 7.0], "v": [1, 2]}, "may be a code"),
    "telephones": (
        "a,v\n+4930123456,1\n+4930123457,2\n",
        {"a": ["+4930123456", "+4930123457"], "v": [1, 2]},
        "behind a +",
    ),
    "per cent of some": ("a,v\n5%,1\n6,2\n", {"a": ["5%", "6"], "v": [1, 2]}, "different signs"),
    "two currencies": ("a,v\n$5,1\n€6,2\n", {"a": ["$5", "€6"], "v": [1, 2]}, "different signs"),
    "millions and thousands": ("a,v\n$1.2M,1\n$500K,2\n", {"a": ["$1.2M", "$500K"], "v": [1, 2]}, "different signs"),
    "one offset in two words": (
        "t,v\n2024-01-01T00:00:00+00:00,1\n2024-01-01T01:00:00Z,2\n",
        {"t": [datetime.datetime(2024, 1, 1, hour, tzinfo=zoneinfo.ZoneInfo("UTC")) for hour in (0, 1)], "v": [1, 2]},
        "",
    ),
    "several offsets": (
        "t,v\n2024-01-01T02:00:00+02:00,1\n2024-01-01T01:00:00Z,2\n",
        {"t": [datetime.datetime(2024, 1, 1, hour, tzinfo=zoneinfo.ZoneInfo("UTC")) for hour in (0, 1)], "v": [1, 2]},
        "different offsets",
    ),
    "dates of both orders": (
        "d,v\n13/12/2024,1\n12/13/2024,2\n",
        {"d": ["13/12/2024", "12/13/2024"], "v": [1, 2]},
        "not all exist",
    ),
    "all in quotes": (
        '"a","b","c"\n"1.5","2","x"\n"","3","NA"\n',
        {"a": [1.5, None], "b": [2, 3], "c": ["x", None]},
        "",
    ),
    "some in quotes": (
        'a,"b","c"\n1,"2","2.5"\n3,"4","NA"\n',
        {"a": [1, 3], "b": ["2", "4"], "c": [2.5, None]},
        "in quotes",
    ),
    "a quoted word for a gap": ('a,s\n1,"NA"\n2,"x"\n3,\n4,""\n', {"a": [1, 2, 3, 4], "s": ["NA", "x", None, ""]}, ""),
    "quotes within": ('a,s\n1,5" wide\n2,"6"" wide,\nlong"\n', {"a": [1, 2], "s": ['5" wide', '6" wide,\nlong']}, ""),
    "names of whole numbers": (
        "2019,2020\n0.5,1.5\n2.5,3\n",
        {"2019": [0.5, 2.5], "2020": [1.5, 3.0]},
        "first line as names",
    ),
    "a comma in the only name": ('"mass, kg"\n1.5\n\n2.5\n', {"mass, kg": [1.5, None, 2.5]}, ""),
    "a line break in a name": ('"a\nunit",b\n1,2\n\n3,4\n\n\n', {"a\nunit": [1, 3], "b": [2, 4]}, ""),
    "blank lines at the end of one column": ("a\n1\n\n3\n\n\n", {"a": [1, None, 3]}, "2 blank lines at the end"),
    "lines of Windows": ("a\r\n1\r\n\r\n3\r\n", {"a": [1, None, 3]}, ""),
    "lines of old Macs": ("a,b\r1,2\r3,4\r", {"a": [1, 3], "b": [2, 4]}, ""),
    "decimal commas in one column": ("a\n1,5\n2,25\n", {"a": [1.5, 2.25]}, "decimal commas"),
    "infinite": ("a,v\ninf,1\n1.5,2\n", {"a": [math.inf, 1.5], "v": [1, 2]}, ""),
}


@pytest.mark.parametrize("case", GUESSED)
def test_what_is_guessed_is_said(tmp_path, case):
    text, wanted, said = GUESSED[case]
    table, warning = read(tmp_path, text)
    assert table.to_pydict() == wanted
    assert (said in warning) if said else not warning


@pytest.mark.parametrize(
    "texts",
    [
        ["(5,0)", "(-3,5)"],
        ["$5.00", "(-$3.50)"],
        [*(f"{k},5" for k in range(10)), "--6,5"],
        ["6.00", "(5.00", "(7.00)"],
        ["6.00", "5.00)", "(7.00)"],
        ["-$6.00", "-$-5.00"],
    ],
)
def test_one_odd_number_makes_a_column_text_and_no_damaged_file(tmp_path, texts):
    table, warning = read(tmp_path, "a;b\n" + "".join(f"{text};{i}\n" for i, text in enumerate(texts)), sep=";")
    assert table.to_pydict() == {"a": texts, "b": list(range(len(texts)))}
    assert "'a': numbers with different signs, units or marks, taken as text" in warning


def test_numbers_have_one_sign_or_one_pair_of_brackets():
    money = NumberStyle(before="$", brackets=True)
    assert money.read(pa.array(["$5", "-$6", "$-7", "($8)", "( $9 )", None])).to_pylist() == [5, -6, -7, -8, -9, None]
    assert NumberStyle(after=" E").read(pa.array(["1E5 E", "- 2 E"])).to_pylist() == [1e5, -2.0]
    for text in ("(-$5)", "-($5)", "-$-5", "--5", "($5", "$5)", "+-5"):
        assert money.read(pa.array(["$1", text])) is None


@pytest.mark.parametrize("case", GUESSED)
def test_cells_are_written_as_they_were(tmp_path, case):
    text, wanted, _ = GUESSED[case]
    (tmp_path / "t.csv").write_bytes(text.encode())
    table, sheet = read_sheet(tmp_path / "t.csv", Reading())
    written = io.BytesIO()
    sheet.write(table, written)
    kept = [line for line in text.removeprefix("sep=;\n").splitlines() if line or len(wanted) == 1]
    while not kept[-1]:
        kept.pop()
    assert written.getvalue().decode().splitlines() == kept


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("stadt,v\nMünchen,1\n".encode("latin-1"), "cp1252"),
        ("stadt,v\nMünchen,1\n".encode("utf-16"), "utf-16-le"),
        ("stadt,v\nMünchen,1\n".encode("utf-16-be"), "utf-16-be"),
        ("stadt,v\nMünchen,1\n".encode("utf-8-sig"), "utf-8"),
        (b"stadt,v\nM\xfcnchen \x81,1\n", "latin-1"),
    ],
)
def test_encodings_are_told_and_kept(tmp_path, data, encoding):
    table, said = read(tmp_path, data)
    assert table.column_names == ["stadt", "v"]
    assert table["stadt"][0].as_py().startswith("München")
    assert (encoding in said) == (encoding in ("cp1252", "latin-1", "utf-16-be"))  # the others are no guesses
    table, sheet = read_sheet(tmp_path / "t.csv", Reading())
    write_table(table, tmp_path / "again.csv", sheet=sheet)
    assert (tmp_path / "again.csv").read_bytes() == data


class TestOptions:
    def test_each_says_otherwise(self, tmp_path):
        def values(text, **options):
            table, said = read(tmp_path, text, **options)
            assert not said
            return table.to_pydict()

        assert values("a;b\n1;2\n", sep=",") == {"a;b": ["1;2"]}
        assert values("a\n1.5\n2.25\n", decimal=",") == {"a": [1.5, 2.25]}  # which can be nothing else
        assert values("land,v\nNA,1\nDE,2\n", na=[]) == {"land": ["NA", "DE"], "v": [1, 2]}
        assert values("größe\n1\n", encoding="utf-8") == {"größe": [1]}
        either = "d,v\n1/2/2024,1\n3/4/2024,2\n"
        assert values(either, dates="day-first")["d"][0] == DAY(2024, 2, 1)
        assert values(either, dates="month-first")["d"][0] == DAY(2024, 1, 2)
        assert values(either, dates={"d": "%d/%m/%Y"})["d"][0] == DAY(2024, 2, 1)
        assert values(either, dates="none")["d"][0] == "1/2/2024"
        assert values("d\n20240517\n20240518\n20240519\n", dates="none")["d"][0] == 20240517
        assert values("1,2\n3,4\n", header=True) == {"1": [3], "2": [4]}
        assert values("1,2\n3,4\n", header=False) == {"column_0": [1, 3], "column_1": [2, 4]}

    def test_kinds_come_before_types(self, tmp_path):
        table, said = read(tmp_path, "zip,n,b,d\n2116,007,0,20240517\n94110,8,1,20240518\n")
        assert [str(one) for one in table.schema.types] == ["int64", "string", "int64", "int64"]
        kinds = {"zip": "categorical", "n": "integer", "b": "boolean", "d": "time"}
        table, said = read(tmp_path, "zip,n,b,d\n2116,007,0,20240517\n94110,8,1,20240518\n", kinds=kinds)
        assert not said
        assert table.to_pydict() == {
            "zip": ["2116", "94110"],
            "n": [7, 8],
            "b": [False, True],
            "d": [DAY(2024, 5, 17), DAY(2024, 5, 18)],
        }
        schema = Schema([Categorical("zip", ["02116"]), Continuous("n", 0.0, 1.0)])
        table, _ = read(tmp_path, "zip,n\n2116,007\n94110,8\n", kinds=schema)
        assert table.to_pydict() == {"zip": ["2116", "94110"], "n": [7, 8]}

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"sep": ";;"}, "one character"),
            ({"decimal": "'"}, "decimal"),
            ({"na": "NA"}, r"give \['NA'\]"),
            ({"encoding": "utf-99"}, "utf-99"),
            ({"encoding": "ascii"}, "no ascii"),
            ({"dates": "dmy"}, "day-first"),
            ({"dates": {"e": "day-first"}}, "columns of the table"),
            ({"dates": {"d": "%d/%m/%Y"}}, "'12/31/2024'"),
            ({"limit": 0}, "limit"),
        ],
    )
    def test_bad_ones_are_one_line(self, tmp_path, options, said):
        with pytest.raises(ValueError, match=said) as caught:
            read(tmp_path, "d,ä\n12/31/2024,1\n1/1/2024,2\n", **options)
        assert "\n" not in str(caught.value)

    def test_they_are_for_csv_alone(self, tmp_path):
        write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
        with pytest.raises(ValueError, match="sep: expected for CSV"):
            read_table(tmp_path / "t.parquet", sep=";")


class TestCompressed:
    def test_the_size_is_told_before_it_is_read(self, tmp_path):
        with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
            file.write(b"a,b\n" + b"1.5,2.5\n" * 500_000)
        with pytest.raises(
            ValueError, match=r"expands from \d+\.?\d* KiB to 3\.81 MiB, and the limit is 1 MiB.*--expand"
        ):
            read_table(tmp_path / "t.csv.gz", limit=2**20)
        assert read_table(tmp_path / "t.csv.gz", limit=4 * 2**20).num_rows == 500_000

    def test_a_size_that_lies_is_found_out(self, tmp_path):
        packed = gzip.compress(b"a,b\n" + b"1.5,2.5\n" * 500_000)
        (tmp_path / "t.csv.gz").write_bytes(packed[:-4] + (100).to_bytes(4, "little"))
        with pytest.raises(ValueError, match="damaged"):
            read_table(tmp_path / "t.csv.gz", limit=2**20)
        two = gzip.compress(b"a,b\n" + b"1.5,2.5\n" * 500_000) + gzip.compress(b"1,2\n")  # the last says its size alone
        (tmp_path / "t.csv.gz").write_bytes(two)
        with pytest.raises(ValueError, match=r"to 3\.81 MiB, and the limit is 1 MiB"):
            read_table(tmp_path / "t.csv.gz", limit=2**20)
        with pytest.raises(ValueError, match=r"more than 3\.81 MiB, and the limit is 4 KiB"):
            read_table(tmp_path / "t.csv.gz", limit=2**12)
        assert read_table(tmp_path / "t.csv.gz").num_rows == 500_001

    def test_one_that_seems_larger_than_it_is_is_read(self, tmp_path):
        rng = np.random.default_rng(0)
        text = b"a,b\n" + b"1.5,2.5\n" * 50_000 + "".join(f"{x},1\n" for x in rng.normal(size=50_000)).encode()
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text))
        assert read_table(tmp_path / "t.csv.gz", limit=len(text)).num_rows == 100_000
        with pytest.raises(ValueError, match="expands from"):
            read_table(tmp_path / "t.csv.gz", limit=len(text) - 1)


class TestWritten:
    TEXT = (
        'id;price;"rate";day;zip;n;flag;note\r\n'
        "90000000000000000001;1.234,50 €;45,3%;31/12/2024;02116;1.000;Yes;=1+1\r\n"
        '90000000000000000002;;;;;;;"-x;y"\r\n'
        "90000000000000000003;7,00 €;7,0%;1/2/2024;94110;51;No;NA\r\n"
    )

    def sheet(self, tmp_path):
        (tmp_path / "t.csv").write_bytes(self.TEXT.encode("cp1252"))
        return read_sheet(tmp_path / "t.csv", Reading(kinds={"flag": "boolean"}))

    def test_new_cells_are_written_in_the_style_of_their_column(self, tmp_path):
        table, sheet = self.sheet(tmp_path)
        new = {"price": 1234567.5, "rate": 12.5, "day": DAY(2025, 3, 4), "zip": "a;b", "n": 12345, "flag": True}
        for name, value in new.items():
            place = table.column_names.index(name)
            table = table.set_column(
                place, name, pc.fill_null(table.column(name), pa.scalar(value, table.column(name).type))
            )
        table = table.append_column("log_p", pa.array([-1.5, 2.0, None]))
        write_table(table, tmp_path / "o.csv", sheet=sheet)
        lines = (tmp_path / "o.csv").read_bytes().decode("cp1252").split("\r\n")
        before = self.TEXT.split("\r\n")
        assert lines[0] == before[0] + ";log_p"
        assert lines[1] == before[1] + ";-1,5"
        assert lines[2] == '90000000000000000002;1.234.567,50 €;12,5%;04/03/2025;"a;b";12.345;Yes;"-x;y";2'
        assert lines[3] == before[3] + ";"

    def test_rows_may_be_chosen_and_repeated(self, tmp_path):
        table, sheet = self.sheet(tmp_path)
        rows = pa.array([2, 0, 2])
        written = io.BytesIO()
        sheet.write(table.take(rows).select(["zip", "price"]), written, rows)
        assert (
            written.getvalue().decode("cp1252") == "zip;price\r\n94110;7,00 €\r\n02116;1.234,50 €\r\n94110;7,00 €\r\n"
        )

    def test_what_the_encoding_lacks_is_said(self, tmp_path):
        table, sheet = self.sheet(tmp_path)
        table = table.append_column("new", pa.array(["ж", "x", "y"]))
        with pytest.raises(ValueError, match="cannot be written in cp1252"):
            write_table(table, tmp_path / "o.csv", sheet=sheet)
        assert not (tmp_path / "o.csv").exists()

    def test_formulas(self, tmp_path):
        words = ["=1+1", "-5", "+4.5e3", "+x", "@a", "ok", "-1+2", "-", None, '"=a"', "\t=a"]
        safe = ["'=1+1", "-5", "+4.5e3", "'+x", "'@a", "ok", "'-1+2", "-", None, '"\'=a"', "'\t=a"]
        assert harmless(pa.array(words)).to_pylist() == safe
        table, sheet = self.sheet(tmp_path)
        write_table(table, tmp_path / "o.csv", sheet=sheet, escape_formulas=True)
        lines = (tmp_path / "o.csv").read_bytes().decode("cp1252").split("\r\n")
        assert lines[1].endswith(";'=1+1")
        assert lines[2].endswith(';"\'-x;y"')
        write_table(table.select(["note"]), tmp_path / "p.csv", escape_formulas=True)
        assert read_table(tmp_path / "p.csv")["note"].to_pylist()[:2] == ["'=1+1", "'-x;y"]

    def test_texts_and_gaps_come_back_from_a_table_of_any_origin(self, tmp_path):
        for columns in (
            {"s": ["NA", "", None, "x"], "n": [1, 2, 3, 4]},
            {"s": ["NA", "", " a", "x"]},
            {"a": [1, None, None]},
            {"s": ["x", None]},
        ):
            write_table(pa.table(columns), tmp_path / "t.csv")
            assert read(tmp_path, (tmp_path / "t.csv").read_bytes())[0].to_pydict() == columns


def test_all_faulty_columns_are_reported_at_once(tmp_path):
    rows = "".join(f"{i}.5,{i},${i}.50,1\n" for i in range(20))
    table, _ = read(tmp_path, "a,b,c,d\n" + rows + "oops,bad,free,1\n")
    with pytest.raises(
        TableError, match=r"4 columns.*'a' holds text \('oops'.*'b'.*'bad' in row 20.*'free'.*'d' is constant"
    ):
        Schema.infer(table)
    with pytest.raises(TableError, match=r"2 columns.*'a'.*'c'"):
        Schema.standardised(table, ["a", "c"])
    with pytest.raises(TableError, match=r"2 columns.*'a'.*row 1 .*'b'.*row 0 "):
        Schema([Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)]).check_gaps(np.array([[1, np.nan], [np.nan, 1]]))
    schema = Schema([Categorical("a", ["x"]), Categorical("b", ["y"])])
    with pytest.raises(TableError, match=r"2 columns.*'u'.*'v'"):
        schema.encode(pa.table({"a": ["u"], "b": ["v"]}))


def test_names_with_commas():
    assert split_names("mass, kg,b", ["mass, kg", "b"]) == ["mass, kg", "b"]
    assert split_names('"mass, kg", b', ["mass, kg", "b"]) == ["mass, kg", "b"]
    assert split_names("a, b,c", ["a", "b", "c", "a, b"]) == ["a, b", "c"]


def test_folders_named_by_hive_give_columns(tmp_path):
    rng = np.random.default_rng(0)
    for year in ("2019", "2020", "__HIVE_DEFAULT_PARTITION__"):
        for month in ("01", "02"):
            folder = tmp_path / f"year={year}" / f"month={month}" / "land=a%20b"
            folder.mkdir(parents=True)
            write_table(pa.table({"x": rng.normal(size=50)}), folder / "a.parquet")
    stream = TableStream(tmp_path)
    assert stream.column_names == ["x", "year", "month", "land"]
    table, _ = stream.sample(0)
    assert table.schema.types[1:] == [pa.int64(), pa.string(), pa.string()]
    assert set(table["year"].to_pylist()) == {2019, 2020, None}
    assert set(table["month"].to_pylist()) == {"01", "02"}
    assert set(table["land"].to_pylist()) == {"a b"}
    schema = Schema.infer(table, ["x", "year", "month"])
    assert [part.kind for part in schema.parts] == ["continuous", "ordinal", "categorical"]
    seen = [one for batch in EncodedStream(stream, schema, np.array([3]), torch.float32)._encoded() for one in batch.x]
    assert len(seen) == stream.rows - 1
    # a file's column goes before the folder's
    write_table(pa.table({"x": [1.0], "year": [7]}), tmp_path / "one.parquet")
    (tmp_path / "alone" / "year=2020").mkdir(parents=True)
    (tmp_path / "one.parquet").rename(tmp_path / "alone" / "year=2020" / "one.parquet")
    assert next(iter(TableStream(tmp_path / "alone").batches()))[1]["year"].to_pylist() == [7]


class TestCommands:
    """From file to file."""

    def run(self, *arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.stderr
        return result

    def test_a_file_that_is_hard_to_read(self, tmp_path):
        rng = np.random.default_rng(0)
        lines = []
        for i in range(120):
            price = "" if i % 10 == 0 else f"{rng.normal(30, 5):.2f}".replace(".", ",") + " €"
            day = "?" if i % 15 == 0 else f"{rng.integers(1, 29)}/{rng.integers(1, 13)}/2024"
            zip_code = ["2116", "1002", "94110"][i % 3]
            lines.append(f'{zip_code};{price};{day};"{"Köln" if i % 2 else "Bonn"}";{9 * 10**19 + i};{i}e4;1.10')
        header = '"zip, code";price;day;stadt;id;code;v'
        text = header + "\r\n" + "\r\n".join(lines) + "\r\n"
        path, model = tmp_path / "t.csv", tmp_path / "m"
        path.write_bytes(text.encode("cp1252"))
        fit = self.run(
            *(
                "fit",
                path,
                "-o",
                model,
                "--epochs",
                2,
                "--hidden",
                8,
                "--blocks",
                1,
                "--kinds",
                "zip, code=categorical",
            ),
            *("--columns", "zip, code,price,day,stadt"),
        )
        guessed = fit.stderr.splitlines()[0]
        for said in ("semicolons", "cp1252", "'€' behind", "day/month/year", "'?' in 8 rows", "more digits", "--dates"):
            assert said in guessed
        for said in ("zip, code", "categorical", "3 texts: '1002', '2116', '94110'", "every day", "time"):
            assert said in fit.stdout
        # the model remembers that days come first, which these rows alone do not tell
        few = "\r\n".join([header, "2116;31,00 €;5/6/2024;Köln;1;1;1", "94110;;4/3/2024;Bonn;1;1;1"]) + "\r\n"
        (tmp_path / "few.csv").write_bytes(few.encode("cp1252"))
        scored = self.run("score", model, tmp_path / "few.csv")
        assert "day" not in scored.stderr.splitlines()[0]
        rows = scored.stdout_bytes.decode("cp1252").splitlines()
        assert [row.rpartition(";")[0] for row in rows] == few.splitlines()
        self.run("impute", model, path, "-o", tmp_path / "o.csv", "--seed", 0)
        filled = (tmp_path / "o.csv").read_bytes().decode("cp1252").split("\r\n")
        assert filled[0] == header
        for before, after in zip(lines, filled[1:], strict=False):
            for i, (old, new) in enumerate(zip(before.split(";"), after.split(";"), strict=True)):
                if old in ("", "?"):
                    assert new.endswith(" €") if i == 1 else new.count("/") == 2
                else:
                    assert new == old
        again = read_sheet(tmp_path / "o.csv", Reading())[0]
        assert again["price"].null_count == again["day"].null_count == 0
        assert pa.types.is_floating(again["price"].type)
        self.run("impute", model, path, "-o", tmp_path / "two.csv", "--draws", 2, "--seed", 0)
        twice = (tmp_path / "two.csv").read_bytes().decode("cp1252").split("\r\n")
        assert twice[0] == "draw;" + header
        assert twice[2] == "0;" + lines[1]
        assert twice[122] == "1;" + lines[1]
        found = self.run("detect", model, path, "--top", 1).stdout_bytes.decode("cp1252").splitlines()[1]
        assert any(found.endswith(line) for line in lines)
        assert "reading" not in self.run("info", model).stdout

    def test_options_reach_the_reader(self, tmp_path):
        rows = "".join(f"{i % 7 + 1}/{i % 11 + 1}/2024;{i / 8:.3f}".replace(".", ",") + ";NA\n" for i in range(80))
        (tmp_path / "t.csv").write_text("d;x;land\n" + rows.replace("NA", "DE", 40))
        options = ["--sep", ";", "--decimal", ",", "--dates", "d=day-first", "--na", "", "--encoding", "utf-8"]
        fit = self.run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--epochs", 1, "--hidden", 8, *options)
        assert "2 texts: 'DE', 'NA'" in fit.stdout
        assert fit.stderr.count("guessed") == 0
        # and the model remembers them
        scored = self.run("score", tmp_path / "m", tmp_path / "t.csv", "--escape-formulas")
        assert "'NA'" not in scored.stderr
        assert "scored 80 rows" in scored.stderr

    def test_clusters_of_decimal_commas(self, tmp_path):
        rng = np.random.default_rng(0)
        lines = [f"{i:05d};{5 * (i % 2) + rng.normal():.3f};{rng.normal():.3f}".replace(".", ",") for i in range(60)]
        (tmp_path / "t.csv").write_text("id;a;b\n" + "\n".join(lines) + "\n")
        options = ["-k", 2, "--columns", "a,b", "--epochs", 2]
        printed = self.run("cluster", tmp_path / "t.csv", *options).stdout.splitlines()
        assert printed[0] == "id;a;b;cluster;cluster_probability"
        result = CliRunner().invoke(app, ["cluster", str(tmp_path / "t.csv"), "-k", "2"])
        assert "column 'id' holds string, where clustering takes numbers; choose with --columns: a,b" in result.stderr
        for before, after in zip(lines, printed[1:], strict=True):
            assert after.startswith(before + ";")
            assert "." not in after

    def test_a_folder_has_no_separator(self, tmp_path):
        (tmp_path / "f").mkdir()
        write_table(pa.table({"a": [1.5]}), tmp_path / "f" / "a.parquet")
        result = CliRunner().invoke(app, ["fit", str(tmp_path / "f"), "-o", str(tmp_path / "m"), "--sep", ";"])
        assert result.exit_code == 2
        assert "--sep: expected for CSV files alone" in result.stderr

    def test_a_bomb_is_refused(self, tmp_path):
        with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
            file.write(b"a,b\n" + b"1.5,2.5\n" * 500_000)
        bomb = [str(tmp_path / "t.csv.gz"), "-o", str(tmp_path / "m"), "--expand", "0.001"]
        result = CliRunner().invoke(app, ["fit", *bomb])
        assert result.exit_code == 2
        assert "expands from" in result.stderr
        assert len(result.stderr.splitlines()) == 1

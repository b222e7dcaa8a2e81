"""Hostile texts and values that several kinds of cases share."""

import random

ESCAPE = "\x1b[31mred\x1b]0;title\x07"
OVERRIDE = "abc\u202edcba"  # shown from right to left


def yaml_value(chance: random.Random) -> str:
    """A value as it is written in YAML, mostly one that no key takes."""
    return chance.choice([_plain, _number, _moment, _tagged, _nested, _anchored, _quoted, _broken])(chance)


def word(chance: random.Random) -> str:
    """A text for a name, an id or a key, mostly one that is refused."""
    return chance.choice(
        [
            "", " ", ".", "..", "../x", "/", "a/b", "NO", "no", "1", "-", "--help", "~", "null", "nan", "=", "a=b", "*",
            "%s", "{0}", "{x}", "$HOME", "a b", " alfa ", "ALFA", "Alfa", "ａｌｆａ", "аlfa", "alfa\u200b", "C\u00f4te",
            "Co\u0302te",
            "日本", "🛒", "\u00a0", "\t", "a\nb\nc\nd\ne", "a\r\rb", ESCAPE, OVERRIDE, "\x9b31m", "\x7f", "\ufeffalfa",
            "\ufffd", "x" * 64, "x" * 65, "x" * 300, "x" * 5000, "é" * 200, "__class__", "con", "alfa.", ".alfa", "'",
            '"',
        ]
    )  # fmt: skip


def json_value(chance: random.Random) -> str:
    """A value as it is written in JSON, of any type, and some that JSON has not."""
    return chance.choice(
        [
            "null", "true", "false", "0", "-1", "1", "1.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "[]",
            "{}",
            "[[]]", "[1,2,3]", "[null]", '[{"a":1}]', '{"a":{"b":null}}', '""', '"x"', '"NaN"', '"\\u0000"', "9" * 30,
            "9" * 400, "9" * 5000, '"\\ud800"', '"\\u001b[31mred\\nsecond\\nthird\\nfourth"', '"\\u202eabc"',
            '"<script>alert(1)</script>"', '"' + "x" * 5000 + '"', '"../../x"', "[" * 2000 + "]" * 2000,
            '{"a":' * 2000 + "1" + "}" * 2000, "[" + ",".join(["1"] * 2000) + "]", "", "x", "'x'", '{"a":1,"a":2}',
        ]
    )  # fmt: skip


def damaged(chance: random.Random, data: bytes) -> tuple[str, bytes]:
    """Bytes of a file after something went wrong with it, and in words what."""
    choices = {
        "empty": lambda: b"",
        "one byte": lambda: b"\0",
        "truncated": lambda: data[: chance.randrange(len(data) + 1)],
        "last byte gone": lambda: data[:-1],
        "random bytes": lambda: chance.randbytes(chance.choice([1, 8, 100, 5000])),
        "zeros": lambda: bytes(len(data)),
        "bytes changed": lambda: _changed(chance, data),
        "one bit changed": lambda: _one_bit(chance, data),
        "not UTF-8": lambda: _inserted(chance, data, b"\xff\xfe\xe9"),
        "NUL inside": lambda: _inserted(chance, data, b"\0"),
        "escape inside": lambda: _inserted(chance, data, ESCAPE.encode()),
        "BOM": lambda: b"\xef\xbb\xbf" + data,
        "UTF-16": lambda: data.decode("utf-8", "replace").encode("utf-16"),
        "CR": lambda: data.replace(b"\n", b"\r"),
        "CRLF": lambda: data.replace(b"\n", b"\r\n"),
        "twice": lambda: data + data,
        "half a part twice": lambda: _repeated(chance, data),
        "zip": lambda: b"PK\x03\x04" + chance.randbytes(60),
        "gzip": lambda: b"\x1f\x8b\x08" + chance.randbytes(60),
        "deep": lambda: b"[" * 10_000,
        "long line": lambda: data + b"x" * 200_000,
    }
    what = chance.choice(list(choices))
    return what, choices[what]()


def _changed(chance: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(min(len(spoilt), chance.choice([1, 3, 20]))):
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt)


def _one_bit(chance: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    if spoilt:
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


def _inserted(chance: random.Random, data: bytes, extra: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + extra + data[place:]


def _repeated(chance: random.Random, data: bytes) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:last] + data[last:]


def _plain(chance: random.Random) -> str:
    return chance.choice(
        [
            "", "~", "null", "Null", "yes", "no", "on", "off", "y", "n", "True", "TRUE", "NO", "x", "auto", "none", "=",
            "federated", "日本", "ＮＯ", "x" * 5000, "x" * 200_000, "a b", "../x", "/", "-", "--", ".", "..", "a#b",
            "# x",
            "alfa, bravo", "{}", "[]", "a\u00a0b", "a\u2028b", "a\x85b", "аuto", "inline\u200b",
        ]
    )  # fmt: skip


def _number(chance: random.Random) -> str:
    return chance.choice(
        [
            "0", "-0", "-1", "1", "2", "1.5", "1e3", "1.0e3", "1e400", "-1e400", "1e-400", "4.9e-324", "1e308", "017",
            "0o17", "0x1F", "0b11", "1_000", "1:30:00", "190:20:30.15", ".inf", "-.inf", ".nan", "inf", "nan", "1,5",
            "1.",
            ".5", "+1", "2147483647", "2147483648", "9223372036854775808", "9" * 400, "9" * 5000, "0x" + "f" * 5000,
            "1e1000000000", "1" + "0" * 310 + ".0", "0.1e+1", "٣", "１", "1e", "--1", "0b", "0x", "1__0", ":1", "1:",
            "0b" + "1" * 20_000, "1:" * 400 + "1",
        ]
    )  # fmt: skip


def _moment(chance: random.Random) -> str:
    return chance.choice(
        [
            "2001-12-14", "2001-13-45", "0000-00-00", "9999-12-31", "10000-01-01", "2001-12-14t21:59:43.10-05:00",
            "2001-12-14 21:59:43.10 Z", "2001-12-14 25:61:61", "2001-12-14 21:59:43+99:99", "1600-01-01", "2001-1-1",
            "'2001-12-14'", "9999-12-31 23:59:59-23:00", "0001-01-01 00:00:00+23:00",
        ]
    )  # fmt: skip


def _tagged(chance: random.Random) -> str:
    return chance.choice(
        [
            "!!python/object:os.system {}", "!!python/object/apply:os.system ['true']", "!!python/name:os.system",
            "!!binary abc", "!!binary 'aGVsbG8='", "!!binary 日", "!!set {a, b}", "!!omap [a: 1]", "!!omap x",
            "!!pairs [a]",
            "!!timestamp 5", "!!int 'x'", "!!float 'x'", "!!bool 'x'", "!!null x", "!!str 5", "!!map [a]",
            "!!seq {a: 1}",
            "!unknown x", "!!int ''", "!!float ''", "!!str [a]", "!!merge x", "!<tag:yaml.org,2002:int> 3", "!!int '_'",
            "!!float '_'", "!!int '-'", "!!timestamp ''", "!!omap [{a: 1, b: 2}]", "!!set [a]", "!!int '0b'",
            "!!int ':'",
            "!!bool ''", "!!binary '===='", "!!value =", "!!int '0x'",
        ]
    )  # fmt: skip


def _nested(chance: random.Random) -> str:
    return chance.choice(
        [
            "[[]]", "[1, a, null]", "{a: 1}", "{a: {b: {c: 1}}}", "[a, a]", "[federated, federated]", "[~]",
            "[[federated]]",
            "[-1]", "[.nan]", "[.inf, 1]", "{1: 2}", "{[a]: b}", "{{a: b}: c}", "{~: 1}", "{true: 1}", "? a", "{a, b}",
            "[" * 10_000, "[" * 10_000 + "]" * 10_000, "[" * 200 + "]" * 200, "{a: " * 5000, "- " * 3000 + "x",
            "[" + ", ".join(["1"] * 3000) + "]", "[" + ", ".join(["'" + "y" * 50 + "'"] * 500) + "]",
            "[x, {a: 1}, [2]]",
            "{2001-01-01: x}", "{a: 1, a: 2}", "{? [a] : 1}", "{.nan: 1}", "[a: 1]", "{a: [b, {c: d}]}",
            "{" + ", ".join(f"k{i}: {i}" for i in range(2000)) + "}",
        ]
    )  # fmt: skip


def _anchored(chance: random.Random) -> str:
    return chance.choice(
        ["&a [*a]", "&a {k: *a}", "*undefined", "&a", "&a *a", "[&a x, *a, *a]", "{<<: {a: 1}}", "{<<: 5}", "{<<: [1]}",
         "{<<: *b}", "&a {<<: *a}", "{<<: [&x {a: 1}, *x]}", alias_bomb(chance.choice([3, 9, 30])),
         "&a [[*a], {b: *a}]"]
    )  # fmt: skip


def alias_bomb(levels: int) -> str:
    """Few characters that stand for ten to the power of ``levels`` items."""
    rows = ["&l0 [" + ", ".join(["lol"] * 10) + "]"]
    rows += [f"&l{level} [" + ", ".join([f"*l{level - 1}"] * 10) + "]" for level in range(1, levels)]
    return "[" + ", ".join(rows) + "]"


def _quoted(chance: random.Random) -> str:
    return chance.choice(
        [
            '"\\0"', '"\\e[31mred\\e[0m"', '"\\u202eabc"', '"a\\nb\\nc\\nd\\ne"', '"\\uD800"', '"\\x9b31m"', '"\\a"',
            "''",
            "' '", "'0'", "'1'", "'true'", "'.nan'", "'inf'", "' 1 '", "'1_000'", "'x\ty'", '"\\r\\r"', '"\\U0001F6D2"',
            '"' + "\\e[0m" * 500 + '"', "'" + "'" * 400 + "'", '"\\u2028"', '"alfa\\0"', "'%s'", "'{}'", '"\\\\"',
            '"\\u200b"',
        ]
    )  # fmt: skip


def _broken(chance: random.Random) -> str:
    return chance.choice(
        ["'unterminated", '"unterminated', '"\\x"', '"\\q"', "a: b: c", "%", "@", "`", "|", ">", "&", "*", "!", "!!",
        "---",
         "...", "\t1", "[a", "{a", "]", "}", "a]", ",", "?", ":", "- - -", "|9\n x", "> x", "%YAML 9.9", "a\n b\nc",
         "\ta: b",
         '"\\U99999999"', '"\\uZZZZ"', "!<", "!<>", "!a!b c", "--- a\n--- b", "[a, b}", "{a: b]", "x: 'y", "\x00",
         "\x1b[31m",
         "\x07", "\ufffe", "a: |\n\tb", "!!int", "? ? ? a", "\udc80"]
    )  # fmt: skip

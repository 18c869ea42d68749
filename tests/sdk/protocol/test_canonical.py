from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from clf_sdk.errors import Malformed
from clf_sdk.protocol import canonical_json, digest, parse_json

# RFC 8785, appendix B: IEEE 754 bits and the number's one form.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]

# RFC 8785, section 3.2.2 and 3.2.4: the sample input and its octets.
SAMPLE = r"""{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}"""
SAMPLE_OCTETS = bytes.fromhex(
    "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a"
    "5b3333333333333333332e333333333333332c31652b33302c342e352c302e3030322c31652d3237"
    "5d2c22737472696e67223a22e282ac245c75303030665c6e4127425c225c5c5c5c5c222f227d"
)

# RFC 8785, section 3.2.3: properties sort by their UTF-16 code units.
UNSORTED = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\U0001f600": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
}
SORTED = [
    "Carriage Return",
    "One",
    "Control",
    "Latin Small Letter O With Diaeresis",
    "Euro Sign",
    "Emoji: Grinning Face",
    "Hebrew Letter Dalet With Dagesh",
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_published_numbers(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()


def test_published_sample() -> None:
    assert canonical_json(json.loads(SAMPLE)) == SAMPLE_OCTETS


def test_published_order_of_properties() -> None:
    assert list(json.loads(canonical_json(UNSORTED)).values()) == SORTED


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 1 << 53, -(1 << 53), "\ud800", {1: 2}, {"a": b""}],
    ids=repr,
)
def test_value_without_a_canonical_form_is_malformed(value: Any) -> None:
    with pytest.raises(Malformed):
        canonical_json(value)


def test_digest_is_sha_256_of_the_canonical_form() -> None:
    assert digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"x": {"a": 1, "a": 1}}',
        b"\xff\xfe{}",
        '{"a": "é"}'.encode("latin-1"),
        '{"a": 1}'.encode("utf-16"),
        b"{} {}",
        b"[" * 200_000,
        b"1" * 10_000,
        b'{"a": 9007199254740993}',
        b'{"a": -9007199254740993}',
        b'{"a": 1e400}',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_strict_json_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed, match="the job is not valid JSON") as caught:
        parse_json(text, what="job")
    assert len(str(caught.value)) < 200


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53) + 1, (1 << 53) - 1)
    | st.floats(-1e15, 1e15)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_canonical_form_is_a_fixed_point(value: Any) -> None:
    once = canonical_json(value)
    assert canonical_json(parse_json(once, what="value")) == once


@pytest.mark.parametrize("number", [1e15, 2.0**53, 1e16, -1.5e18, 999999999999999900000.0, 1e21])
def test_every_double_is_read_from_the_form_in_which_it_is_written(number: float) -> None:
    assert parse_json(canonical_json({"a": number}), what="value")["a"] == number


@pytest.mark.parametrize("text", ["1", "1.0", "10e-1", "0.1e1"])
def test_one_digest_has_one_meaning(text: str) -> None:
    # An approved function that asks isinstance(x, int) must not hear two answers for one digest.
    assert repr(parse_json(text, what="job")) == "1"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_has_one_canonical_form_is_read_alike(number: float) -> None:
    read = parse_json(repr(number), what="job")
    again = parse_json(canonical_json(read), what="job")
    assert repr(read) == repr(again)
    assert canonical_json(read) == canonical_json(number)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
)


@given(_VALUES)
def test_the_fast_way_writes_what_the_library_writes(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


def test_every_character_is_escaped_as_the_library_does() -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    assert canonical_json({"text": text}) == rfc8785.dumps({"text": text})


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, {1: 2}, 2**53, [float("nan")]])
def test_what_has_no_form_is_refused_on_either_way(value: Any) -> None:
    for wrapped in (value, [value, 0.5]):
        with pytest.raises(Malformed):
            canonical_json(wrapped)

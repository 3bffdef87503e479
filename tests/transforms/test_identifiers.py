"""Identifiers: one normal form per type, tokens by the stated formula, and the static rules that block a value."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from transforms.identity.identifiers import IdentifierType, IdentityRules, converter, identified, normalised, token

KEY = b"a key for tests"


def kind(type_name: str = "member", **said: Any) -> IdentifierType:
    return IdentifierType(type=type_name, label="标识", **said)


PHONE = kind("phone", kind="phone", personal=True, blocked=("13800138000", "+86 139 0000 0000", "10086"))
EMAIL = kind("email", kind="email", personal=True, blocked=("A@a.com",), blocked_patterns=("^no-?reply@",))
MEMBER = kind("member", case="upper", strip=r"^VIP-")
OPENID = kind("openid")


def normal_form(raw: str | None, of: IdentifierType) -> tuple[str | None, str | None]:
    """Normal form and rule: what a type that is not personal stores."""
    return converter(of.model_copy(update={"personal": False}), "CN", KEY)(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "13712605489",
        " 137 1260 5489 ",
        "137-1260-5489",
        "(137)12605489",
        "137.1260.5489",
        "+8613712605489",
        "+86 137 1260 5489",
        "+86-137-1260-5489",
        "008613712605489",
        "0086 137 1260 5489",
        "8613712605489",
        "１３７１２６０５４８９",  # full-width digits
        "＋８６　１３７１２６０５４８９",  # full-width plus and ideographic space
        "137\u00a01260\u00a05489",  # no-break spaces
    ],
)
def test_one_mobile_has_one_form_however_it_is_typed(raw: str) -> None:
    assert normal_form(raw, PHONE) == ("+8613712605489", None)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("010-85161727", ("+861085161727", None)),  # a landline in Beijing
        ("+1 202 555 0143", ("+12025550143", None)),  # abroad, by its own country code
        ("0012025550143", ("+12025550143", None)),
        ("+852 9123 4567", ("+85291234567", None)),
        ("12", ("12", "not_a_phone")),
        ("call me", ("callme", "not_a_phone")),
        ("137126054891234567", ("137126054891234567", "not_a_phone")),
    ],
)
def test_other_numbers_follow_phonenumbers(raw: str, expected: tuple[str, str | None]) -> None:
    assert normal_form(raw, PHONE) == expected


@given(
    prefix=st.sampled_from(["", "+86", "0086", "86"]),
    head=st.sampled_from([f"1{digit}" for digit in range(10)]),  # 10, 11, 12 are no mobiles: the fast path leaves them
    tail=st.text("0123456789", min_size=8, max_size=10),
)
@example(prefix="86", head="13", tail="712605489")  # the country code without a plus: phonenumbers has to see it
@example(prefix="", head="19", tail="999999999")
@settings(max_examples=300)
def test_fast_path_equals_phonenumbers(prefix: str, head: str, tail: str) -> None:
    raw = f"{prefix}{head}{tail}"
    dialled = f"+{raw[2:]}" if raw.startswith("00") else raw
    try:
        number = phonenumbers.parse(dialled, "CN")
        is_possible = phonenumbers.is_possible_number(number)
        by_library = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        is_possible, by_library = False, raw
    expected = (by_library, None) if is_possible else (raw, "not_a_phone")
    assert normalised(raw, PHONE, "CN") == expected


def test_the_fast_path_is_for_the_chinese_region_only() -> None:
    assert normalised("13712605489", PHONE, "US")[0] == "+13712605489"


@pytest.mark.parametrize(
    ("raw", "of", "expected"),
    [
        (" Li.Lei@Example.COM ", EMAIL, ("li.lei@example.com", None)),
        ("ｌｉ＠ｅｘａｍｐｌｅ．ｃｏｍ", EMAIL, ("li@example.com", None)),  # full width
        ("li.lei", EMAIL, ("li.lei", "not_an_email")),
        ("li lei@example.com", EMAIL, ("li lei@example.com", "not_an_email")),
        (" vip-m0001 ", MEMBER, ("M0001", None)),  # trimmed, then the case, then strip
        ("VIP-", MEMBER, ("", "null_like")),  # nothing is left: nobody's number
        ("AbC", kind(), ("AbC", None)),  # ids keep their case by default
        ("AbC", kind(case="lower"), ("abc", None)),
    ],
)
def test_mails_and_ids_have_one_form(raw: str, of: IdentifierType, expected: tuple[str, str | None]) -> None:
    assert normal_form(raw, of) == expected


@pytest.mark.parametrize("raw", [None, "", "   ", "\u3000"])
def test_nothing_is_no_identifier(raw: str | None) -> None:
    for how in ({}, {"delivered_hash": "md5"}, {"app_id": "wx1"}):
        assert converter(PHONE, "CN", KEY, **how)(raw) == (None, None)


@pytest.mark.parametrize(
    ("raw", "of", "rule"),
    [
        ("138 0013 8000", PHONE, "blocked_value"),  # listed, in another spelling
        ("+8613900000000", PHONE, "blocked_value"),  # the list's own spelling is normalised too
        ("10086", PHONE, "blocked_value"),
        ("a@A.com", EMAIL, "blocked_value"),
        ("noreply@shop.cn", EMAIL, "blocked_pattern"),
        ("no-reply@shop.cn", EMAIL, "blocked_pattern"),
        ("NULL", MEMBER, "null_like"),
        ("N/A", MEMBER, "null_like"),
        ("0", MEMBER, "null_like"),
        ("未知", MEMBER, "null_like"),
        ("ｎｕｌｌ", MEMBER, "null_like"),  # full width
        ("undefined", PHONE, "null_like"),
        ("--", PHONE, "null_like"),  # separators alone
        ("13888888888", PHONE, "repeated_digits"),  # the last eight are one digit
        ("000000", MEMBER, "repeated_digits"),
        ("13812345678", PHONE, "ascending_digits"),
        ("67890123", MEMBER, "ascending_digits"),  # over the nine
        ("00000", MEMBER, None),  # too short to tell
        ("13888888887", PHONE, None),
        ("123457", MEMBER, None),
    ],
)
def test_static_rules_block(raw: str, of: IdentifierType, rule: str | None) -> None:
    assert normal_form(raw, of)[1] == rule


TYPED = st.text("".join(map(chr, range(32, 127))) + "０１９ＡＺａｚ＋－＠．（）　会员é", min_size=1, max_size=20)


@given(TYPED)
@settings(max_examples=200)
def test_normal_form_is_its_own_normal_form(raw: str) -> None:
    for of in (EMAIL, OPENID, kind(case="upper"), PHONE):
        once, _ = normalised(raw, of, "CN")
        if once.strip():
            assert normalised(once, of, "CN")[0] == once


def test_token_is_the_stated_formula() -> None:
    expected = hmac.new(KEY, b"phone:+8613712605489", hashlib.sha256).hexdigest()
    assert converter(PHONE, "CN", KEY)("137 1260 5489") == (expected, None)
    assert token(KEY, "phone", "+8613712605489") == expected
    assert converter(PHONE, "CN", b"another key")("13712605489")[0] != expected
    assert converter(kind("mobile", kind="phone", personal=True), "CN", KEY)("13712605489")[0] != expected


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_hashed_and_plain_sources_meet(algorithm: Any) -> None:
    delivered = hashlib.new(algorithm, b"+8613712605489").hexdigest()
    plain = converter(PHONE, "CN", KEY, common_hash=algorithm)("0086 137 1260 5489")
    for spelling in (delivered, delivered.upper(), f" {delivered} "):
        assert converter(PHONE, "CN", KEY, common_hash=algorithm, delivered_hash=algorithm)(spelling) == plain
    assert plain == (token(KEY, "phone", delivered), None)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_blocked_values_are_known_by_their_hash(algorithm: Any) -> None:
    """A blocked phone blocks in every form in which it is delivered, and has one token."""
    hashed = converter(PHONE, "CN", KEY, common_hash=algorithm, delivered_hash=algorithm)
    plain = converter(PHONE, "CN", KEY, common_hash=algorithm)
    for raw in PHONE.blocked:
        normal = normalised(raw, PHONE, "CN")[0]
        delivered = hashlib.new(algorithm, normal.encode()).hexdigest()
        assert hashed(delivered) == plain(raw) == (token(KEY, "phone", delivered), "blocked_value")
    nothing = hashlib.new(algorithm, b"").hexdigest()  # what a careless sender makes of a missing phone
    assert hashed(nothing)[1] == "null_like"
    assert hashed(hashlib.new(algorithm, b"null").hexdigest())[1] == "null_like"


@pytest.mark.parametrize("raw", ["13712605489", "null", "d41d8cd98f00b204e9800998ecf8427", "g" * 32, "a" * 64])
def test_what_is_no_hash_of_its_kind_is_blocked(raw: str) -> None:
    assert converter(PHONE, "CN", KEY, delivered_hash="md5")(raw)[1] == "not_a_hash"


def test_openid_is_keyed_with_its_app() -> None:
    assert converter(OPENID, "CN", KEY, app_id="wx1")(" oAbc ") == ("wx1:oAbc", None)
    assert converter(OPENID, "CN", KEY, app_id="wx2")("oAbc") == ("wx2:oAbc", None)  # another app, another person
    assert converter(OPENID, "CN", KEY, app_id="wx1")("null")[1] == "null_like"  # the rules see the id alone
    secret = kind("openid", personal=True)
    assert converter(secret, "CN", KEY, app_id="wx1")("oAbc")[0] == token(KEY, "openid", "wx1:oAbc")


def test_spark_column_says_the_same_as_the_function(spark: SparkSession) -> None:
    raws = ["13712605489", None, "+86 137 1260 5489", "13800138000", "", "x", "13712605489"]
    frame = spark.createDataFrame([(n, raw) for n, raw in enumerate(raws)], "n int, raw string")
    found = identified(F.col("raw"), PHONE, region="CN", key=KEY)
    rows = frame.select("n", found.alias("found")).orderBy("n").collect()
    convert = converter(PHONE, "CN", KEY)
    assert [(row.found.value, row.found.rule) for row in rows] == [convert(raw) for raw in raws]
    plan = frame.select(found["value"])._jdf.queryExecution().toString()
    assert KEY.decode() not in plan  # a key among literals would be printed in every plan
    empty = frame.where("raw is null").select(found["value"].alias("value"))  # a batch of nulls has no dictionary
    assert [row.value for row in empty.collect()] == [None]


def test_rules_are_checked_before_anything_runs() -> None:
    rules = IdentityRules(types=(MEMBER, PHONE, kind("tablet", shared=True)))
    assert rules.linking == ["member", "phone"]  # strongest first; shared types link nothing
    assert rules.tier == {"member": 0, "phone": 1, "tablet": 2}
    assert rules.named("phone") is PHONE
    with pytest.raises(ValidationError, match="declared twice: member"):
        IdentityRules(types=(MEMBER, MEMBER))
    with pytest.raises(ValidationError, match="case"):
        kind(case="Upper")
    with pytest.raises(Exception, match="unterminated"):
        kind(blocked_patterns=("[a-z",))

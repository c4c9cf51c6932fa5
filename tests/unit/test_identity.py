"""Numbers of people, companies and cases, addresses, phones: by the city's own examples."""

import csv
import re
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from catalogue import load_catalogue
from catalogue.loader import CITY
from services.intake.identity import (
    InvalidValue,
    address_line,
    case_number,
    company_number,
    district,
    email,
    mobile,
    parse_case_number,
    personal_id,
    phone,
)

CHECKS: dict[str, Callable[[str], str]] = {
    "national_id": personal_id,
    "resident_id_new": personal_id,
    "resident_id_old": personal_id,
    "ubn": company_number,
    "mobile": mobile,
    "landline_taipei": phone,
    "address": address_line,
}
# Not of a citizen's form: how the city numbers its services and letters, and its own hotline.
NOT_OF_A_FORM = {"service_id", "letter_no", "short_code"}
# The form asks for the district in a field of its own, so the line may lack it.
ASKED_ELSEWHERE = {"臺北市八德路一段1號"}


def _rows() -> list[dict[str, str]]:
    with (CITY / "data" / "validators.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _examples(column: str) -> list[tuple[str, str]]:
    """(item, example) of the items that a form has; notes in words after an example are left."""
    found = []
    for row in _rows():
        if row["item"] in NOT_OF_A_FORM:
            continue
        for example in filter(None, (part.strip() for part in row[column].split(";"))):
            value = re.sub(r"\s+(\(|without).*", "", example)
            if column == "valid_examples" or value not in ASKED_ELSEWHERE:
                found.append((row["item"], value))
    return found


def test_every_item_of_the_table_is_either_checked_here_or_of_no_form() -> None:
    assert {row["item"] for row in _rows()} == set(CHECKS) | NOT_OF_A_FORM


@pytest.mark.parametrize(("item", "example"), _examples("valid_examples"))
def test_a_valid_example_of_the_table_is_taken(item: str, example: str) -> None:
    given_text, _, normal = example.partition(" -> ")
    found = CHECKS[item](given_text)

    if normal:
        assert found == normal
    # A checked value is checked again further on: it must still hold, and stay as it is.
    assert CHECKS[item](found) == found


@pytest.mark.parametrize(("item", "example"), _examples("invalid_examples"))
def test_an_invalid_example_of_the_table_is_refused_in_both_languages(
    item: str, example: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        CHECKS[item](example)
    assert "." in refused.value.reason_code
    assert refused.value.message_en
    assert re.search(r"[\u4e00-\u9fff]", refused.value.message_zh)


def test_the_citys_hotline_is_no_citizens_number() -> None:
    with pytest.raises(InvalidValue):
        phone("1999")


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (personal_id, "A123456789"),
        (company_number, "04595257"),
        (phone, "0912345678"),
        (parse_case_number, case_number(date(2026, 11, 24), 123)),
    ],
)
def test_full_width_letters_and_digits_are_the_ordinary_ones(
    check: Callable[[str], str], value: str
) -> None:
    assert check(_full_width(value)) == check(value)


def test_an_id_may_be_written_small_and_with_spaces() -> None:
    assert personal_id(" a1234 56789 ") == "A123456789"


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (personal_id, "A12345678٩"),
        (company_number, "0459525٢"),
        (parse_case_number, "20261124-000012٣-5"),
    ],
)
def test_digits_of_other_scripts_are_refused(check: Callable[[str], str], value: str) -> None:
    with pytest.raises(InvalidValue):
        check(value)


@pytest.mark.parametrize("text", ["", "A12345678", "A1234567890", "1234567890", "AE00000012"])
def test_an_id_of_another_form_is_refused_as_that(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        personal_id(text)
    assert refused.value.reason_code == "id.form"


@given(st.integers(2, 9), st.integers(0, 9))
def test_every_wrong_digit_of_a_national_id_but_the_ones_that_weigh_alike_is_found(
    position: int, digit: int
) -> None:
    number = "A123456789"
    wrong = number[:position] + str(digit) + number[position + 1 :]
    # Where the weight shares a factor with 10, another digit can give the same sum.
    weight = 10 - position - 1 or 1
    assume(digit != int(number[position]))
    assume((weight * (digit - int(number[position]))) % 10)

    with pytest.raises(InvalidValue):
        personal_id(wrong)


@pytest.mark.parametrize(
    "text",
    ["+886 912-345-678", "(0912) 345 678", "0912-345678", "886912345678", "+886-912345678"],
)
def test_a_mobile_number_may_be_written_in_any_usual_form(text: str) -> None:
    assert mobile(text) == "+886912345678"


@pytest.mark.parametrize(
    "text", ["02-27208889#1234", "(02)2720-8889 轉1234", "02-2720-8889 分機 1234"]
)
def test_an_extension_is_kept_however_it_is_written(text: str) -> None:
    assert phone(text) == "+886227208889;ext=1234"


def test_a_landline_is_a_phone_but_no_mobile() -> None:
    with pytest.raises(InvalidValue) as refused:
        mobile("02-27208889")
    assert refused.value.reason_code == "phone.not_mobile"


@pytest.mark.parametrize("text", ["+819012345678", "+14155552671", "+8613800138000"])
def test_a_foreign_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        phone(text)


@pytest.mark.parametrize("text", ["a@b", "no at sign", "a@@b.tw", "a@b.tw\nBcc: c@d.tw"])
def test_what_is_no_mail_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        email(text)


def test_the_domain_of_a_mail_address_is_written_small() -> None:
    assert email("Wang@Example.COM") == "Wang@example.com"


@pytest.mark.parametrize(
    ("given_text", "normal"),
    [
        ("八德路１段1號", "八德路一段1號"),
        ("八德路1段１號", "八德路一段1號"),
        ("中山北路7段", "中山北路七段"),
        ("台北市八德路一段1號", "臺北市八德路一段1號"),
        ("八德路一段1號", "八德路一段1號"),
        ("台中路3號", "台中路3號"),
        ("八德路11段", "八德路11段"),
    ],
)
def test_an_address_is_written_as_the_registers_write_it(given_text: str, normal: str) -> None:
    assert address_line(given_text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "中正區",
        "中正",
        " 中正區 ",
        "Zhongzheng",
        "zhongzheng district",
        "Zhongzheng District",
        "zz",
    ],
)
def test_a_district_is_known_by_each_of_its_names(text: str) -> None:
    assert district(load_catalogue(), text, None) == "中正區"


def test_every_district_is_known_by_its_own_english_name() -> None:
    catalogue = load_catalogue()

    assert [district(catalogue, one.en, one.postal3) for one in catalogue.districts.values()] == [
        *catalogue.districts
    ]


def test_daan_may_be_written_with_its_apostrophe() -> None:
    assert district(load_catalogue(), "Da'an District", None) == "大安區"


@pytest.mark.parametrize("text", ["", "板橋區", "Taipei", "區"])
def test_what_is_no_district_of_the_city_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        district(load_catalogue(), text, None)
    assert refused.value.reason_code == "district.unknown"


@pytest.mark.parametrize("code", ["100", "10045", "100045", "１００"])
def test_a_postal_code_of_three_five_or_six_digits_fits_its_district(code: str) -> None:
    assert district(load_catalogue(), "中正區", code) == "中正區"


def test_a_postal_code_of_another_district_is_refused_and_the_right_one_named() -> None:
    with pytest.raises(InvalidValue) as refused:
        district(load_catalogue(), "中正區", "106")
    assert refused.value.reason_code == "district.postal_code"
    assert "100" in refused.value.message_en


DAYS = st.dates(date(2000, 1, 1), date(2099, 12, 31))
NUMBERS = st.builds(case_number, DAYS, st.integers(0, 10**9))


@given(NUMBERS)
def test_a_case_number_is_read_back_with_or_without_its_dashes(number: str) -> None:
    assert parse_case_number(number) == number
    assert parse_case_number(number.replace("-", "")) == number
    assert parse_case_number(f" {number.replace('-', ' – ')} ") == number


@given(DAYS, st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_sequences_of_a_day_never_give_one_number(day: date, one: int, other: int) -> None:
    assert (case_number(day, one) == case_number(day, other)) == (one == other)


@given(NUMBERS, st.data())
def test_every_single_wrong_digit_of_a_case_number_is_found(
    number: str, data: st.DataObject
) -> None:
    digits = number.replace("-", "")
    at = data.draw(st.integers(0, len(digits) - 1))
    wrong = data.draw(st.sampled_from("0123456789"))
    assume(wrong != digits[at])

    with pytest.raises(InvalidValue) as refused:
        parse_case_number(digits[:at] + wrong + digits[at + 1 :])
    assert refused.value.reason_code == "number.check_digit"


@given(NUMBERS, st.data())
def test_every_swap_of_two_neighbours_in_a_case_number_is_found(
    number: str, data: st.DataObject
) -> None:
    digits = number.replace("-", "")
    at = data.draw(st.sampled_from([i for i in range(len(digits) - 1) if _differ(digits, i)]))
    swapped = digits[:at] + digits[at + 1] + digits[at] + digits[at + 2 :]

    with pytest.raises(InvalidValue) as refused:
        parse_case_number(swapped)
    assert refused.value.reason_code == "number.check_digit"


def _differ(digits: str, at: int) -> bool:
    return digits[at] != digits[at + 1]


@pytest.mark.parametrize("text", ["", "20261124", "20261124-123-5", "2026112x-0000123-5", "一二三"])
def test_what_is_no_case_number_is_refused_as_that(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_case_number(text)
    assert refused.value.reason_code == "number.form"

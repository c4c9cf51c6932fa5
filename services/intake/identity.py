"""Numbers that people and companies are known by, addresses and case numbers, checked. Pure.

The rules and their examples are in catalogue/data/validators.csv.
"""

import re
import unicodedata
from datetime import date
from zoneinfo import ZoneInfo

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from stdnum import damm

from catalogue import Catalogue

# The city's own time: its days are what numbers and due days count by.
CITY = ZoneInfo("Asia/Taipei")

_LETTERS = dict(
    zip(
        "ABCDEFGHJKLMNPQRSTUVXYWZIO",
        range(10, 36),
        strict=True,
    )
)
_ID_WEIGHTS = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
_UBN_WEIGHTS = (1, 2, 1, 2, 1, 2, 4, 1)
_NUMBER = re.compile(r"([0-9]{8})([0-9]{7,})([0-9])")


class InvalidValue(ValueError):  # noqa: N818 - it names what it is about: a value
    """`reason_code` is stable; the messages say what is wrong and how to mend it."""

    def __init__(self, reason_code: str, message_en: str, message_zh: str) -> None:
        super().__init__(message_en)
        self.reason_code = reason_code
        self.message_en = message_en
        self.message_zh = message_zh


def _plain(text: str) -> str:
    """Full-width letters and digits made ordinary, spaces gone, letters large."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper()


def personal_id(text: str) -> str:
    """A national id (A1, A2), a resident's id of the new (A8, A9) or the old form (AA-AD)."""
    value = _plain(text)
    if re.fullmatch(r"[A-Z][1289][0-9]{8}", value):
        digits = f"{_LETTERS[value[0]]}{value[1:]}"
    elif re.fullmatch(r"[A-Z][A-D][0-9]{8}", value):
        digits = f"{_LETTERS[value[0]]}{_LETTERS[value[1]] % 10}{value[2:]}"
    else:
        raise InvalidValue(
            "id.form",
            "write one letter and nine digits, as on the card",
            "請填寫身分證或居留證號(一個英文字母加九個數字)",
        )
    total = sum(int(d) * w for d, w in zip(digits, _ID_WEIGHTS, strict=True))
    if total % 10:
        raise InvalidValue(
            "id.check_digit",
            "the check digit does not fit; a digit is wrong or two are swapped",
            "證號檢查碼不符,請確認號碼是否正確",
        )
    return value


def company_number(text: str) -> str:
    """A unified business number; since 2023-04-01 its sum must be divisible by 5, not 10."""
    value = _plain(text)
    if not re.fullmatch(r"[0-9]{8}", value):
        raise InvalidValue("ubn.form", "write the eight digits", "請填寫八位數統一編號")
    products = [int(d) * w for d, w in zip(value, _UBN_WEIGHTS, strict=True)]
    total = sum(p // 10 + p % 10 for p in products)
    fits = total % 5 == 0 or (value[6] == "7" and (total + 1) % 5 == 0)
    if not fits or value == "00000000":
        raise InvalidValue(
            "ubn.check_digit",
            "the check digit does not fit; a digit is wrong or two are swapped",
            "統一編號檢查碼不符,請確認號碼是否正確",
        )
    return value


def phone(text: str) -> str:
    """A Taiwanese phone number as E.164, with its extension after ';ext='."""
    value = re.sub(r"(轉|分機)", "#", unicodedata.normalize("NFKC", text)).strip()
    wrong = InvalidValue(
        "phone.invalid",
        "write a phone number such as 0912345678 or 02-27208889#1234",
        "請填寫電話號碼,例如 0912345678 或 02-27208889#1234",
    )
    try:
        number = phonenumbers.parse(value.replace("#", " ext. "), "TW")
    except phonenumbers.NumberParseException:
        raise wrong from None
    # A foreign number may be right, but the city does not pay for messages to any country.
    if not phonenumbers.is_valid_number_for_region(number, "TW"):
        raise wrong
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{e164};ext={number.extension}" if number.extension else e164


def mobile(text: str) -> str:
    """A mobile number as E.164; one that a text message reaches."""
    found = phone(text)
    number = phonenumbers.parse(found, "TW")
    if phonenumbers.number_type(number) != phonenumbers.PhoneNumberType.MOBILE:
        raise InvalidValue(
            "phone.not_mobile", "write a mobile number (09...)", "請填寫行動電話(09 開頭)"
        )
    return found


def email(text: str) -> str:
    """An e-mail address, normalised; whether it can receive is not asked."""
    try:
        # The reserved domains of examples are let through: they are what the samples use.
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidValue("email.invalid", str(error), "電子郵件格式不正確") from None
    return found.normalized


def district(catalogue: Catalogue, name: str, postal_code: str | None) -> str:
    """The district's Chinese name; its postal code must not name another one."""
    plain = unicodedata.normalize("NFKC", name).replace("'", "")
    found = catalogue.district(" ".join(plain.split()))
    if found is None:
        raise InvalidValue(
            "district.unknown",
            "write one of the twelve districts, such as 中正區",
            "請填寫臺北市的行政區,例如中正區",
        )
    if postal_code and _plain(postal_code)[:3] != found.postal3:
        raise InvalidValue(
            "district.postal_code",
            f"{found.en} has the postal code {found.postal3}; mend one of the two",
            f"{found.zh}的郵遞區號是 {found.postal3},請修正其中一項",
        )
    return found.zh


def address_line(text: str) -> str:
    """臺 for 台, ordinary digits, and 段 with Chinese numerals, as the registers write it."""
    value = unicodedata.normalize("NFKC", text).strip().replace("台北", "臺北")
    numerals = "一二三四五六七八九"
    return re.sub(r"(?<![0-9])([1-9])段", lambda match: f"{numerals[int(match[1]) - 1]}段", value)


def case_number(day: date, sequence: int) -> str:
    """Such as 20261124-0000123-9: day, running number, check digit (Damm)."""
    digits = f"{day:%Y%m%d}{sequence:07d}"
    return f"{digits[:8]}-{digits[8:]}-{damm.calc_check_digit(digits)}"


# Of a case number as typed; longer ones are none, and to read them takes long.
_LONGEST_NUMBER = 64


def parse_case_number(text: str) -> str:
    """The number in its one form; spaces, dashes and full-width digits do not matter."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST_NUMBER])
    digits = re.sub(r"[\s\-\u2010-\u2015\uff0d]", "", plain)
    match = _NUMBER.fullmatch(digits) if digits.isascii() else None
    if match is None:
        raise InvalidValue(
            "number.form",
            "a case number looks like 20261124-0000123-9",
            "案件編號的格式例如 20261124-0000123-9",
        )
    if not damm.is_valid(digits):
        raise InvalidValue(
            "number.check_digit",
            "the check digit does not fit; a digit is wrong or two are swapped",
            "案件編號檢查碼不符,請確認編號是否正確",
        )
    return "-".join(match.groups())

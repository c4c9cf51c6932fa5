"""Exact segmentation: what leaves in parts is the text again, and no character is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.channels.segments import MAX_PARTS, Segments, segment

# The GSM alphabet of 3GPP TS 23.038, written down here a second time.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
ESCAPED = dict(zip(b"\x0a\x14\x28\x29\x2f\x3c\x3d\x3e\x40\x65", "\f^{}\\[~]|€", strict=True))
GSM_TEXT = st.text(BASIC.replace("\x1b", "") + "".join(ESCAPED.values()), min_size=1, max_size=900)
ANY_TEXT = st.text(
    st.one_of(
        st.sampled_from("臺北市政府案件編號😀𠮷€[a1"),
        st.characters(exclude_categories=("Cs",)),
    ),
    min_size=1,
    max_size=400,
)


def decode_gsm(octets: bytes) -> str:
    text, rest = "", iter(octets)
    for octet in rest:
        text += ESCAPED[next(rest)] if octet == 0x1B else BASIC[octet]
    return text


def bodies(segments: Segments) -> list[bytes]:
    return [part[7:] if segments.concatenated else part for part in segments.parts]


@given(GSM_TEXT)
def test_each_part_of_a_gsm_text_reads_by_itself_and_all_give_the_text(text: str) -> None:
    segments = segment(text, 7)
    assert segments.alphabet == "gsm0338"
    assert "".join(decode_gsm(body) for body in bodies(segments)) == text


@given(ANY_TEXT)
def test_each_part_of_any_text_reads_by_itself_and_all_give_the_text(text: str) -> None:
    segments = segment(text, 7)
    decode = decode_gsm if segments.alphabet == "gsm0338" else lambda b: b.decode("utf-16-be")
    # A divided surrogate pair or escape would not decode.
    assert "".join(decode(body) for body in bodies(segments)) == text


@given(ANY_TEXT, st.integers(0, 0xFFFF))
def test_every_part_fits_and_its_header_says_which_it_is(text: str, reference: int) -> None:
    segments = segment(text, reference)
    for number, part in enumerate(segments.parts, start=1):
        if segments.concatenated:
            assert part[:3] == b"\x06\x08\x04"
            assert int.from_bytes(part[3:5]) == reference
            assert tuple(part[5:7]) == (len(segments.parts), number)
        # On the air: 140 octets, a septet of the GSM alphabet takes 7 bits.
        header = 7 if segments.concatenated else 0
        body = len(part) - header
        bits = body * (7 if segments.alphabet == "gsm0338" else 8)
        assert header * 8 + bits <= 140 * 8


@given(ANY_TEXT)
def test_no_part_could_have_taken_the_next_character(text: str) -> None:
    segments = segment(text, 7)
    if segments.concatenated:
        room = 152 if segments.alphabet == "gsm0338" else 132
        for body in bodies(segments)[:-1]:
            assert room - len(body) < (2 if segments.alphabet == "gsm0338" else 4)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 151 + "€" + "a" * 150, 2),
        ("a" * 151 + "€" + "a" * 151, 3),
        ("臺" * 70, 1),
        ("臺" * 71, 2),
        ("臺" * 132, 2),
        ("臺" * 133, 3),
        ("臺" * 65 + "😀" + "臺" * 65, 3),
    ],
)
def test_the_number_of_parts_is_exact(text: str, parts: int) -> None:
    assert len(segment(text, 1).parts) == parts


@pytest.mark.parametrize("text", ["", "臺\ud83d北", "臺" * (66 * MAX_PARTS + 1)])
def test_a_text_that_no_phone_could_show_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        segment(text, 1)

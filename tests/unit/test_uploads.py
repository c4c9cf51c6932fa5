"""Uploads: every refusal by a really built hostile file, and what survives the cleaning."""

import hashlib
import io
import random
import struct
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable

import pikepdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pikepdf import Array, Dictionary, Name, Pdf, String
from PIL import Image, PngImagePlugin

from services.intake import uploads
from services.intake.uploads import Limits, Upload, UploadError, inspect

GPS_TEXT = b"2026:01:02 SECRET-PLACE"


def picture(size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    """A picture of noise with a red left top corner."""
    noise = random.Random(1).randbytes(size[0] * size[1] * 3)
    image = Image.frombytes("RGB", size, noise)
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def pdf_bytes(
    change: Callable[[Pdf], object] = lambda pdf: None, pages: int = 1, **how: object
) -> bytes:
    """A PDF of blank pages, changed by `change`, saved with the options `how`."""
    pdf = pikepdf.new()
    for _ in range(pages):
        pdf.add_blank_page(page_size=(200, 200))
    change(pdf)
    output = io.BytesIO()
    pdf.save(output, **{"static_id": True, **how})  # type: ignore[arg-type]
    return output.getvalue()


def zip_bytes() -> bytes:
    """A small zip bomb: a thousand to one."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("payload.js", b"0" * 5_000_000)
    return output.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body + png_chunk(b"IEND", b"")


def refusal(name: str, content: bytes, limits: Limits | None = None) -> UploadError:
    with pytest.raises(UploadError) as caught:
        inspect(name, content, limits or Limits())
    return caught.value


def stored_name(name: str) -> str:
    return inspect(name, PNG).name


JPEG = encoded(picture(), "JPEG", quality=95)
PNG = encoded(picture(), "PNG")
PDF = pdf_bytes(pages=2)


@pytest.mark.parametrize(
    ("name", "content", "media_type", "pages"),
    [
        ("a.jpg", JPEG, "image/jpeg", 1),
        ("a.png", PNG, "image/png", 1),
        ("a.pdf", PDF, "application/pdf", 2),
        ("a.pdf", pdf_bytes(linearize=True), "application/pdf", 1),
        (
            "a.pdf",
            pdf_bytes(object_stream_mode=pikepdf.ObjectStreamMode.generate),
            "application/pdf",
            1,
        ),
    ],
)
def test_good_document_is_stored(name: str, content: bytes, media_type: str, pages: int) -> None:
    upload = inspect(name, content)
    assert (upload.name, upload.media_type, upload.pages) == (name, media_type, pages)
    assert upload.sha256 == hashlib.sha256(upload.content).hexdigest()
    assert inspect(name, content) == upload
    assert inspect(name, upload.content).media_type == media_type


def test_png_pixels_and_jpeg_look_stay() -> None:
    with Image.open(io.BytesIO(inspect("a.png", PNG).content)) as image:
        assert image.tobytes() == picture().tobytes()
    smooth = Image.linear_gradient("L").convert("RGB")
    with Image.open(io.BytesIO(inspect("a.jpg", encoded(smooth, "JPEG")).content)) as image:
        pairs = zip(image.tobytes(), smooth.tobytes(), strict=True)
        assert max(abs(after - before) for after, before in pairs) < 8


def test_pdf_pages_and_their_streams_stay() -> None:
    def draw(pdf: Pdf) -> None:
        pdf.pages[0].obj.Contents = pdf.make_stream(b"0 0 10 10 re f")

    upload = inspect("a.pdf", pdf_bytes(draw))
    with pikepdf.open(io.BytesIO(upload.content)) as pdf:
        assert pdf.pages[0].obj.Contents.read_bytes() == b"0 0 10 10 re f"


def test_same_pdf_twice_has_the_same_hash_and_cleaning_is_stable() -> None:
    first = inspect("a.pdf", PDF)
    time.sleep(1.1)
    assert inspect("b.pdf", PDF).sha256 == first.sha256
    assert inspect("a.pdf", first.content).sha256 == first.sha256
    assert inspect("a.pdf", pdf_bytes(pages=3)).sha256 != first.sha256


def test_empty_and_too_large() -> None:
    assert refusal("a.png", b"").code == "upload.empty"
    error = refusal("a.png", PNG + b"\0" * (10 * 1024 * 1024))
    assert (error.code, error.values) == ("upload.too_large", {"limit_mb": 10})
    assert inspect("a.png", PNG, Limits(max_bytes=len(PNG))).pages == 1
    assert refusal("a.png", PNG, Limits(max_bytes=len(PNG) - 1)).code == "upload.too_large"


def test_cleaned_document_has_a_bound_too() -> None:
    few = pdf_bytes(
        lambda pdf: pdf.Root.update({"/Lang": String("x" * 40_000)}),
        object_stream_mode=pikepdf.ObjectStreamMode.generate,
    )
    assert len(few) < 2_000
    assert len(inspect("a.pdf", few).content) > 40_000
    assert refusal("a.pdf", few, Limits(max_bytes=2_000)).code == "upload.too_large"


@pytest.mark.parametrize(
    "content",
    [
        zip_bytes(),
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"<!doctype html><script>alert(1)</script>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"MZ\x90\0" + b"\0" * 100,
        b"\x7fELF" + b"\0" * 100,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100,
        b"GIF89a" + b"\0" * 100,
        "申请书".encode(),
        b"\n" + PDF,
        b"<html>" + PDF,
        b"\xef\xbb\xbf" + PNG,
    ],
)
@pytest.mark.parametrize("name", ["a.pdf", "a.jpg", "a.docx", ""])
def test_other_types_are_not_allowed_whatever_their_name(name: str, content: bytes) -> None:
    assert refusal(name, content).code == "upload.type_not_allowed"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.pdf", JPEG, "jpg"),
        ("a.PNG", JPEG, "jpg"),
        ("a.jpeg", PDF, "pdf"),
        ("a.pdf.exe", PDF, "pdf"),
        ("a.html .", PNG, "png"),
        ("a.h\u202etml", PNG, "png"),
        ("a.docx", PDF, "pdf"),
    ],
)
def test_extension_of_another_type(name: str, content: bytes, found: str) -> None:
    error = refusal(name, content)
    assert (error.code, error.values["found"]) == ("upload.type_differs", found)


@pytest.mark.parametrize("tail", [zip_bytes(), b"<script>alert(1)</script>" * 100])
@pytest.mark.parametrize(("name", "content"), [("a.jpg", JPEG), ("a.png", PNG), ("a.pdf", PDF)])
def test_data_after_the_end_vanishes(name: str, content: bytes, tail: bytes) -> None:
    upload = inspect(name, content + tail)
    assert tail[:20] not in upload.content
    assert upload == inspect(name, content)
    assert not zipfile.is_zipfile(io.BytesIO(upload.content))


def test_pixel_bomb_is_refused_by_its_header() -> None:
    for width, height in ((60_000, 60_000), (10_000, 10_000), (40_001, 1_000)):
        error = refusal("a.png", png_header(width, height))
        assert (error.code, error.values) == (
            "upload.image_too_large",
            {"limit_megapixels": 40},
        )
    assert refusal("a.png", png_header(40_000, 1_000)).code == "upload.damaged"


def test_jpeg_pixel_bomb() -> None:
    frame = JPEG.index(b"\xff\xc0") + 5
    bomb = JPEG[:frame] + struct.pack(">HH", 65_000, 65_000) + JPEG[frame + 4 :]
    assert refusal("a.jpg", bomb).code == "upload.image_too_large"


def test_pixel_limit_is_exact() -> None:
    assert inspect("a.png", PNG, Limits(max_pixels=40 * 30)).pages == 1
    assert refusal("a.png", PNG, Limits(max_pixels=40 * 30 - 1)).code == "upload.image_too_large"


def test_text_bomb_in_png() -> None:
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 80_000_000))
    assert refusal("a.png", PNG[:33] + text + PNG[33:]).code == "upload.damaged"


def tagged_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x9C9C] = GPS_TEXT
    exif.get_ifd(0x8825)[29] = GPS_TEXT.decode()
    return exif


def red_corner(content: bytes) -> tuple[bool, bool]:
    """Where the red quarter is: (at the left, at the top)."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        left, right = width // 4, width * 3 // 4
        top, bottom = height // 4, height * 3 // 4
        red = [
            (x == left, y == top)
            for x in (left, right)
            for y in (top, bottom)
            if _is_red(image.convert("RGB").crop((x - 3, y - 3, x + 3, y + 3)))
        ]
    assert len(red) == 1
    return red[0]


def _is_red(area: Image.Image) -> bool:
    values = area.tobytes()
    return min(values[0::3]) > 200 and max(values[1::3]) < 60 and max(values[2::3]) < 60


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (80, 60), (True, True)),
        (2, (80, 60), (False, True)),
        (3, (80, 60), (False, False)),
        (4, (80, 60), (True, False)),
        (5, (60, 80), (True, True)),
        (6, (60, 80), (False, True)),
        (7, (60, 80), (False, False)),
        (8, (60, 80), (True, False)),
        (77, (80, 60), (True, True)),
    ],
)
def test_orientation_is_applied_and_place_removed(
    image_format: str, orientation: int, size: tuple[int, int], corner: tuple[bool, bool]
) -> None:
    content = encoded(picture((80, 60)), image_format, exif=tagged_exif(orientation))
    assert GPS_TEXT in content
    cleaned = inspect("a", content).content
    with Image.open(io.BytesIO(cleaned)) as image:
        assert image.size == size
        assert not image.getexif()
    assert red_corner(cleaned) == corner
    assert GPS_TEXT not in cleaned


def test_jpeg_comment_profile_and_xmp_are_removed() -> None:
    secret = b"SECRET" * 5
    content = encoded(picture(), "JPEG", comment=secret, icc_profile=secret, xmp=secret)
    assert content.count(secret) == 3
    cleaned = inspect("a.jpg", content).content
    assert b"SECRET" not in cleaned
    with Image.open(io.BytesIO(cleaned)) as image:
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_png_keeps_nothing_but_header_and_pixels() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "SECRET")
    text.add_itxt("XML:com.adobe.xmp", "SECRET")
    content = encoded(picture(), "PNG", pnginfo=text, icc_profile=b"SECRET" * 30, dpi=(72, 72))
    cleaned = inspect("a.png", content).content
    kinds = []
    offset = 8
    while offset < len(cleaned):
        (length,) = struct.unpack_from(">I", cleaned, offset)
        kinds.append(cleaned[offset + 4 : offset + 8])
        offset += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


def test_only_the_first_frame_stays() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for name, form in (("a.png", "PNG"), ("a.jpg", "MPO")):
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        with Image.open(io.BytesIO(content)) as image:
            assert getattr(image, "n_frames", 1) == 2
        with Image.open(io.BytesIO(inspect(name, content).content)) as image:
            assert getattr(image, "n_frames", 1) == 1
            assert _is_red(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "RGB", "I;16"])
def test_png_modes_keep_their_look(mode: str) -> None:
    source = picture().convert("L").convert("I;16") if mode == "I;16" else picture(mode=mode)
    if "A" in mode:
        source.putalpha(90)
    with Image.open(io.BytesIO(inspect("a.png", encoded(source, "PNG")).content)) as image:
        look = "I;16" if mode == "I;16" else "RGBA"
        assert image.convert(look).tobytes() == source.convert(look).tobytes()


def test_grey_png_of_16_bits_with_a_transparent_shade() -> None:
    source = picture().convert("L").convert("I;16")
    content = encoded(source, "PNG", transparency=5)
    assert b"tRNS" in content
    with Image.open(io.BytesIO(inspect("a.png", content).content)) as image:
        assert (image.mode, image.tobytes()) == ("I;16", source.tobytes())


def test_cmyk_jpeg_becomes_rgb() -> None:
    content = encoded(picture((80, 60), mode="CMYK"), "JPEG")
    cleaned = inspect("a.jpg", content).content
    with Image.open(io.BytesIO(cleaned)) as image:
        assert image.mode == "RGB"
    assert red_corner(cleaned) == (True, True)


def script() -> Dictionary:
    return Dictionary(S=Name.JavaScript, JS=String("app.alert(1)"))


def attach(pdf: Pdf) -> None:
    pdf.attachments["payload.exe"] = b"MZ"


def annotate(annotation: Callable[[], Dictionary]) -> Callable[[Pdf], None]:
    def change(pdf: Pdf) -> None:
        pdf.pages[0].obj.Annots = Array([pdf.make_indirect(annotation())])

    return change


def hide_in_stream_dictionary(pdf: Pdf) -> None:
    pdf.Root.Extra = pdf.make_stream(b"x", {"/Deep": Array([Array([script()])])})


@pytest.mark.parametrize(
    "change",
    [
        lambda pdf: pdf.Root.update({"/OpenAction": script()}),
        lambda pdf: pdf.Root.update({"/OpenAction": Dictionary(S=Name.Launch, F="cmd.exe")}),
        lambda pdf: pdf.Root.update({"/AA": Dictionary(WC=Dictionary(S=Name.GoTo))}),
        lambda pdf: pdf.pages[0].obj.update({"/AA": Dictionary(O=script())}),
        lambda pdf: pdf.Root.update(
            {"/Names": Dictionary(JavaScript=Dictionary(Names=Array(["a", Dictionary()])))}
        ),
        lambda pdf: pdf.Root.update({"/AcroForm": Dictionary(Fields=Array(), XFA=String("<x/>"))}),
        annotate(
            lambda: Dictionary(Subtype=Name.Link, A=Dictionary(S=Name.SubmitForm, F="http://x"))
        ),
        annotate(lambda: Dictionary(Subtype=Name.Link, A=Dictionary(S=Name.ImportData, F="a.fdf"))),
        annotate(lambda: Dictionary(Subtype=Name.RichMedia)),
        annotate(lambda: Dictionary(Subtype=Name.FileAttachment)),
        attach,
        hide_in_stream_dictionary,
    ],
)
@pytest.mark.parametrize("mode", ["generate", "disable"])
def test_active_content_is_refused(change: Callable[[Pdf], object], mode: str) -> None:
    content = pdf_bytes(change, object_stream_mode=getattr(pikepdf.ObjectStreamMode, mode))
    assert refusal("a.pdf", content).code == "upload.active_content"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("/JS", "/x"),
        ("/EmbeddedFiles", "/x"),
        ("/EF", "/x"),
        ("/RichMediaContent", "/x"),
        ("/S", "/RichMediaExecute"),
        ("/Type", "/EmbeddedFile"),
        ("/Subtype", "/RichMedia"),
    ],
)
def test_each_sign_of_active_content_is_enough(key: str, value: str) -> None:
    content = pdf_bytes(lambda pdf: pdf.Root.update({"/X": Dictionary({key: Name(value)})}))
    feature = value if key in {"/S", "/Type", "/Subtype"} else key
    assert refusal("a.pdf", content).values == {"feature": feature[1:]}


def test_escaped_name_does_not_hide_a_script() -> None:
    def name_it(pdf: Pdf) -> None:
        pdf.Root.OpenAction = Dictionary(S=Name.JavaXXXcript)

    plain = pdf_bytes(name_it, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    assert inspect("a.pdf", plain).pages == 1
    escaped = plain.replace(b"/JavaXXXcript", b"/Java#53cript")
    assert refusal("a.pdf", escaped).code == "upload.active_content"


def test_links_and_jumps_are_no_active_content() -> None:
    def link(pdf: Pdf) -> None:
        pdf.Root.OpenAction = Array([pdf.pages[0].obj, Name.Fit])
        annotate(
            lambda: Dictionary(Subtype=Name.Link, A=Dictionary(S=Name.URI, URI="https://x.org"))
        )(pdf)

    assert inspect("a.pdf", pdf_bytes(link)).pages == 1


@pytest.mark.parametrize("user", ["", "secret"])
def test_encrypted_pdf(user: str) -> None:
    content = pdf_bytes(encryption=pikepdf.Encryption(owner="owner", user=user), static_id=False)
    assert refusal("a.pdf", content).code == "upload.encrypted"


def test_page_limit() -> None:
    assert inspect("a.pdf", pdf_bytes(pages=50)).pages == 50
    error = refusal("a.pdf", pdf_bytes(pages=51))
    assert error.code == "upload.too_many_pages"
    assert error.values == {"pages": 51, "limit_pages": 50}
    assert refusal("a.pdf", pdf_bytes(pages=0)).code == "upload.damaged"


def test_pdf_metadata_is_removed() -> None:
    def describe(pdf: Pdf) -> None:
        pdf.docinfo["/Author"] = String("SECRET")
        pdf.Root.Metadata = pdf.make_stream(b"<x>SECRET</x>")

    content = pdf_bytes(describe, compress_streams=False, fix_metadata_version=False)
    assert content.count(b"SECRET") == 2
    assert b"SECRET" not in inspect("a.pdf", content).content


@pytest.mark.parametrize(("limit", "value"), [("_MAX_PDF_OBJECTS", 9), ("_MAX_PDF_ENTRIES", 30)])
def test_walk_over_pdf_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    content = pdf_bytes(lambda pdf: pdf.Root.update({"/X": Array([Array([0, 0])] * 20)}))
    assert inspect("a.pdf", content).pages == 1
    monkeypatch.setattr(uploads, limit, value)
    assert refusal("a.pdf", content).code == "upload.damaged"


def test_circular_pdf_ends() -> None:
    def circle(pdf: Pdf) -> None:
        pdf.Root.Self = pdf.make_indirect(Array([]))
        pdf.Root.Self.append(pdf.Root.Self)

    assert inspect("a.pdf", pdf_bytes(circle)).pages == 1


def test_stream_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(zlib.compress(b"0" * 300_000_000, 9), 9)

    def plant(pdf: Pdf) -> None:
        pdf.Root.Bomb = pdf.make_stream(b"")
        pdf.Root.Bomb.write(
            bomb,
            filter=Array([Name.FlateDecode, Name.FlateDecode]),
            decode_parms=None,
        )

    content = pdf_bytes(
        plant, compress_streams=False, stream_decode_level=pikepdf.StreamDecodeLevel.none
    )
    assert bomb in content
    assert bomb in inspect("a.pdf", content).content


def test_object_stream_bomb_is_refused() -> None:
    fill = Array([String("x" * 1_000_000)] * 6)
    content = pdf_bytes(
        lambda pdf: pdf.Root.update({"/X": fill}),
        object_stream_mode=pikepdf.ObjectStreamMode.generate,
    )
    assert len(content) < 20_000
    assert refusal("a.pdf", content).code == "upload.damaged"


@pytest.mark.parametrize("content", [JPEG, PNG, PDF, pdf_bytes(linearize=True)])
def test_truncated_files_are_damaged(content: bytes) -> None:
    for keep in (10, len(content) // 3, len(content) // 2, len(content) - 30):
        assert refusal("", content[:keep]).code == "upload.damaged"


def test_truncated_update_of_pdf_does_not_fall_back_to_the_older_document() -> None:
    update = b"\n9 0 obj\n<</V (filled in)>>\nendobj\nxref\n"
    assert refusal("a.pdf", PDF + update).code == "upload.damaged"


def test_pdf_that_needs_repair_is_damaged() -> None:
    content = pdf_bytes(pages=2, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    assert content.count(b"\n4 0 obj") == 1
    assert refusal("a.pdf", content.replace(b"\n4 0 obj", b"\n9 0 obj")).code == "upload.damaged"
    assert refusal("a.pdf", content.replace(b"\nxref", b"\nyref")).code == "upload.damaged"


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("报告.PNG", "报告.png"),
        ("𠮷野家𰻝.png", "𠮷野家𰻝.png"),
        ("👩‍👩‍👧 ok.png", "👩‍👩‍👧 ok.png"),
        ("../../etc/passwd", "passwd.png"),
        ("C:\\Users\\me\\scan.png", "scan.png"),
        ("a/b\\c.png", "c.png"),
        ("e\u0301te\u0301.png", "été.png"),
        ("e\u202e\u0301.png", "é.png"),
        ("gpj\u202egnp.png", "gpjgnp.png"),
        ("a\0b\r\nc\x7f\u2028.png", "abc.png"),
        ("a\ud800b.png", "ab.png"),
        ("report.2024", "report.2024.png"),
        ("a.b.png", "a.b.png"),
        ("", "document.png"),
        (".png", "document.png"),
        ("..", "document.png"),
        ("dir/", "document.png"),
        ("\u202e\n", "document.png"),
        ("x" * 300 + ".png", "x" * 116 + ".png"),
        ("𠮷" * 300, "𠮷" * 116 + ".png"),
        ("x" * 115 + " . yyy.png", "x" * 115 + ".png"),
    ],
)
def test_names(name: str, cleaned: str) -> None:
    assert stored_name(name) == cleaned


def test_extension_fits_the_found_type() -> None:
    assert inspect("a.JPEG", JPEG).name == "a.jpg"
    assert inspect("scan", PDF).name == "scan.pdf"


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_name_gives_a_safe_name(name: str) -> None:
    try:
        cleaned = uploads._clean_name(name, "pdf")
    except UploadError as error:
        assert error.code == "upload.type_differs"
        return
    assert 5 <= len(cleaned) <= 120
    assert cleaned.endswith(".pdf")
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not {"/", "\\", "\0", "\n", "\u202e"} & set(cleaned)
    cleaned.encode()
    assert uploads._clean_name(cleaned, "pdf") == cleaned


def outcome(content: bytes) -> Upload | str:
    try:
        return inspect("", content)
    except UploadError as error:
        return error.code


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n"]),
    st.binary(max_size=400),
    st.sampled_from([b"", b"\nstartxref\n9\n%%EOF"]),
)
@settings(max_examples=400, deadline=None)
def test_random_bytes_raise_nothing_else(head: bytes, body: bytes, tail: bytes) -> None:
    result = outcome(head + body + tail)
    assert result in {"upload.empty", "upload.type_not_allowed", "upload.damaged"} or (
        result == "upload.image_too_large" and head != b"%PDF-1.7\n"
    )


SEEDS = [
    encoded(picture(), "JPEG", exif=tagged_exif(6)),
    encoded(picture((9, 9), "P"), "PNG"),
    encoded(picture((9, 9)), "PNG", exif=tagged_exif(6)),
    pdf_bytes(pages=2, object_stream_mode=pikepdf.ObjectStreamMode.disable),
    pdf_bytes(pages=2, object_stream_mode=pikepdf.ObjectStreamMode.generate),
    pdf_bytes(linearize=True),
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), max_size=6),
)
@settings(max_examples=600, deadline=None)
def test_mutated_files_raise_nothing_else(seed: bytes, edits: list[tuple[float, bytes]]) -> None:
    content = bytearray(seed)
    for where, replacement in edits:
        at = int(where * len(content))
        content[at : at + 2] = replacement
    result = outcome(bytes(content))
    assert result == outcome(bytes(content))
    if isinstance(result, Upload):
        assert outcome(result.content) not in {"upload.damaged", "upload.active_content"}

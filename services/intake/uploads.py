"""Inspection and cleaning of documents that citizens upload.

Nothing here reads or writes a file, or trusts what a browser says: the type is found from the
content, and what comes back is written anew, so that nothing hidden in the upload survives. The
same bytes and name always give the same result.

Importing this module sets limits of the qpdf library for the whole process (see `_limit_qpdf`).
They bound a single compressed stream, not their sum: services/intake/inspection.py calls
`inspect` in a process with a memory limit and a deadline.
"""

import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pikepdf
from PIL import Image, JpegImagePlugin

_MIB = 1024 * 1024
_MAX_NAME = 120
_MAX_GROWTH = 3
_MAX_PDF_OBJECTS = 200_000
_MAX_PDF_ENTRIES = 1_000_000
_JPEG_QUALITY = 90
_EXIF_ORIENTATION = 0x0112

_SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"%PDF-": "application/pdf",
}
_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "application/pdf": "pdf"}
_EXTENSION_OF = {
    "jpeg": "jpg",
    "jpe": "jpg",
    "jfif": "jpg",
    "jpg": "jpg",
    "png": "png",
    "pdf": "pdf",
}
_OTHER_EXTENSION = re.compile(
    "7z|apk|app|avif|bat|bmp|bz2|cmd|com|css|csv|dll|dmg|docm?|docx|eml|eps|exe|gif|gz|hei[cf]|hta|"
    "html?|ics|jar|js|json|jsp|lnk|mht|mhtml|mjs|mov|mp[34]|msi|od[pst]|ofd|php|pl|ppt[mx]?|ps1?|"
    "py|rar|rtf|sh|svgz?|swf|tar|tiff?|txt|vbs|wav|webp|wps|wsf|xhtml|xls[mx]?|xml|xz|zip"
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ACTIVE_KEYS = frozenset(
    {"/JS", "/JavaScript", "/AA", "/EmbeddedFiles", "/EF", "/XFA", "/RichMediaContent"}
)
_ACTIVE_KINDS = frozenset(
    {
        "/JavaScript",
        "/Launch",
        "/SubmitForm",
        "/ImportData",
        "/RichMedia",
        "/RichMediaExecute",
        "/EmbeddedFile",
        "/FileAttachment",
    }
)
_KIND_KEYS = frozenset({"/S", "/Subtype", "/Type"})
_PDF_END = b"%%EOF"
_PDF_OBJECT = re.compile(rb"\d\s+\d+\s+obj\b")

_BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may measure: bytes as sent, PDF pages, and image pixels (width x height)."""

    max_bytes: int = 10 * _MIB
    max_pages: int = 50
    max_pixels: int = 40_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """A document fit to be stored: `content` is the cleaned bytes, `sha256` their hex digest."""

    name: str
    media_type: str
    sha256: str
    content: bytes
    pages: int


class UploadError(Exception):
    """A refused upload: `code` names the reason, `values` fill the placeholders of its message."""

    def __init__(self, code: str, **values: str | int) -> None:
        super().__init__(code, values)
        self.code = code
        self.values: dict[str, str | int] = dict(values)

    def __reduce__(self) -> Any:
        """From one process to another, with the values by their names."""
        return partial(UploadError, **cast(dict[str, Any], self.values)), (self.code,)


def _limit_qpdf() -> None:
    """Bound what qpdf unpacks from one stream, in bytes, while it reads the structure of a PDF.

    The limits hold for the whole process, and qpdf asks that they be set once, before threads.
    """
    pikepdf.settings.set_qpdf_limits(
        flate_max_memory=4 * _MIB,
        run_length_max_memory=4 * _MIB,
        png_max_memory=4 * _MIB,
        tiff_max_memory=4 * _MIB,
        max_stream_filters=2,
        parser_max_nesting=100,
        doc_max_warnings=20,
    )


_limit_qpdf()


def inspect(name: str, content: bytes, limits: Limits = Limits()) -> Upload:
    """Check an uploaded document and return it cleaned, ready to be stored.

    Raises UploadError, and nothing else, if the document is refused. `limits.max_bytes` applies
    to the bytes as sent; the cleaned content may be larger, but at most three times that limit.
    """
    if not content:
        raise UploadError("upload.empty")
    too_large = UploadError("upload.too_large", limit_mb=limits.max_bytes // _MIB)
    if len(content) > limits.max_bytes:
        raise too_large
    media_type = _media_type(content)
    clean_name = _clean_name(name, _EXTENSIONS[media_type])
    try:
        cleaned, pages = _CLEANERS[media_type](content, limits)
    except UploadError:
        raise
    except Exception as error:
        raise UploadError("upload.damaged") from error
    if len(cleaned) > _MAX_GROWTH * limits.max_bytes:
        raise too_large
    return Upload(clean_name, media_type, hashlib.sha256(cleaned).hexdigest(), cleaned, pages)


def _media_type(content: bytes) -> str:
    """Return the media type that the first bytes tell; raise upload.type_not_allowed if none."""
    for signature, media_type in _SIGNATURES.items():
        if content.startswith(signature):
            return media_type
    raise UploadError("upload.type_not_allowed", allowed="JPEG, PNG, PDF")


def _clean_name(name: str, extension: str) -> str:
    """Return a safe file name of at most 120 characters that ends with `extension`.

    Raises upload.type_differs if the name ends with the extension of another type. An ending that
    is no known extension (as in "report.2024") belongs to the name and is kept.
    """
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(character for character in last if _is_printable(character))
    whole = unicodedata.normalize("NFC", printable).rstrip(" .")
    stem, _, ending = whole.rpartition(".")
    ending = ending.strip().lower()
    if "." not in whole or not (ending in _EXTENSION_OF or _OTHER_EXTENSION.fullmatch(ending)):
        stem = whole
    elif _EXTENSION_OF.get(ending) != extension:
        raise UploadError("upload.type_differs", extension=ending, found=extension)
    stem = stem.strip(" .")[: _MAX_NAME - len(extension) - 1].rstrip(" .")
    return f"{stem or 'document'}.{extension}"


def _is_printable(character: str) -> bool:
    """Tell whether a character may stand in a file name: no control, bidi control, surrogate."""
    return character not in _BIDI_CONTROLS and unicodedata.category(character) not in _UNPRINTABLE


def _clean_jpeg(content: bytes, limits: Limits) -> tuple[bytes, int]:
    """Return the picture encoded anew, upright and without any metadata; it counts as one page."""
    image = _open_image(content, "JPEG", limits)
    sampling = JpegImagePlugin.get_sampling(image)
    plain = _plain_image(image, {"L", "RGB"})
    output = io.BytesIO()
    plain.save(output, "JPEG", quality=_JPEG_QUALITY, subsampling=sampling)
    return output.getvalue(), 1


def _clean_png(content: bytes, limits: Limits) -> tuple[bytes, int]:
    """Return the first frame encoded anew, upright and without any metadata, as one page."""
    plain = _plain_image(_open_image(content, "PNG", limits), {"1", "L", "RGB", "RGBA", "I;16"})
    output = io.BytesIO()
    plain.save(output, "PNG")
    return output.getvalue(), 1


def _open_image(content: bytes, image_format: str, limits: Limits) -> Image.Image:
    """Decode an image whose header tells at most `limits.max_pixels`.

    Raises upload.image_too_large before any pixel is decoded.
    """
    too_large = UploadError("upload.image_too_large", limit_megapixels=limits.max_pixels // 10**6)
    try:
        image = Image.open(io.BytesIO(content), formats=(image_format,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    if image.width * image.height > limits.max_pixels:
        raise too_large
    image.load()
    return image


def _plain_image(image: Image.Image, modes: set[str]) -> Image.Image:
    """Return the pixels alone, turned upright, in one of `modes` (RGBA if any is transparent)."""
    turn = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    if image.mode == "I;16":
        plain = image.copy()
    elif image.has_transparency_data and "RGBA" in modes:
        plain = image.convert("RGBA")
    else:
        plain = image.convert(image.mode if image.mode in modes else "RGB")
    plain.info = {}
    return plain if turn is None else plain.transpose(turn)


def _clean_pdf(content: bytes, limits: Limits) -> tuple[bytes, int]:
    """Return the document written anew without metadata, and its number of pages.

    Whatever qpdf would have to repair or leave out counts as damage, so that no page or form
    field is lost without a word.
    """
    try:
        pdf = pikepdf.open(
            io.BytesIO(_without_tail(content)),
            attempt_recovery=False,
            inherit_page_attributes=False,
            conversion_mode="explicit",
        )
    except pikepdf.PasswordError as error:
        raise UploadError("upload.encrypted") from error
    with pdf:
        if pdf.is_encrypted:
            raise UploadError("upload.encrypted")
        _refuse_active_content(pdf)
        pages = len(pdf.pages)
        if pages > limits.max_pages:
            raise UploadError("upload.too_many_pages", pages=pages, limit_pages=limits.max_pages)
        cleaned = _write_pdf(pdf)
        if pages == 0 or pdf.get_warnings():
            raise UploadError("upload.damaged")
    return cleaned, pages


def _without_tail(content: bytes) -> bytes:
    """Return a PDF up to its last end mark; raise upload.damaged if the file was cut short."""
    end = content.rfind(_PDF_END) + len(_PDF_END)
    if end < len(_PDF_END) or _PDF_OBJECT.search(content, end):
        raise UploadError("upload.damaged")
    return content[:end]


def _write_pdf(pdf: pikepdf.Pdf) -> bytes:
    """Write a PDF without its metadata; its streams are copied as they are, never decoded."""
    for holder, key in ((pdf.Root, "/Metadata"), (pdf.trailer, "/Info")):
        if key in holder:
            del holder[key]
    output = io.BytesIO()
    pdf.save(
        output,
        deterministic_id=True,
        fix_metadata_version=False,
        stream_decode_level=pikepdf.StreamDecodeLevel.none,
        compress_streams=False,
        object_stream_mode=pikepdf.ObjectStreamMode.disable,
    )
    return output.getvalue()


def _refuse_active_content(pdf: pikepdf.Pdf) -> None:
    """Raise upload.active_content for scripts, launches, forms that send, and attached files."""
    for key, value in _entries(pdf):
        if key in _ACTIVE_KEYS:
            raise UploadError("upload.active_content", feature=key.removeprefix("/"))
        if key in _KIND_KEYS and isinstance(value, pikepdf.Name) and str(value) in _ACTIVE_KINDS:
            raise UploadError("upload.active_content", feature=str(value).removeprefix("/"))


def _entries(pdf: pikepdf.Pdf) -> Iterator[tuple[str, pikepdf.Object]]:
    """Yield the key and value of every dictionary entry that the trailer leads to, each once.

    No stream is decoded. Raises upload.damaged above 200,000 containers or 1,000,000 entries.
    """
    waiting: list[pikepdf.Object] = [pdf.trailer]
    seen: set[tuple[int, int]] = set()
    containers = entries = 0
    while waiting:
        value = waiting.pop()
        if not _is_new_container(value, seen):
            continue
        named = not isinstance(value, pikepdf.Array)
        children = list(value.items() if named else (("", child) for child in value))
        containers += 1
        entries += len(children)
        if containers > _MAX_PDF_OBJECTS or entries > _MAX_PDF_ENTRIES:
            raise UploadError("upload.damaged")
        if named:
            yield from children
        waiting.extend(child for _, child in children)


def _is_new_container(value: pikepdf.Object, seen: set[tuple[int, int]]) -> bool:
    """Tell whether to walk into a value, and remember it in `seen` if it is a numbered object."""
    if not isinstance(value, pikepdf.Array | pikepdf.Dictionary | pikepdf.Stream):
        return False
    if value.objgen == (0, 0):
        return True
    is_new = value.objgen not in seen
    seen.add(value.objgen)
    return is_new


_CLEANERS: dict[str, Callable[[bytes, Limits], tuple[bytes, int]]] = {
    "image/jpeg": _clean_jpeg,
    "image/png": _clean_png,
    "application/pdf": _clean_pdf,
}

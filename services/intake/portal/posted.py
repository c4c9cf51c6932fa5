"""What a browser sends with a form: read within limits, and let go of when it is answered."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from catalogue.forms import MOST_DOCUMENTS
from shared.runtime.web import ProblemError

# The parts of a form stay in memory: what citizens upload is never written to a disk in clear.
MultiPartParser.spool_max_size = 64 * 1024 * 1024
_FIELD_BYTES = 64 * 1024


def _of_at_most(most: int) -> Callable[[Request], AsyncIterator[FormData]]:
    async def form(request: Request) -> AsyncIterator[FormData]:
        given = await _posted(request, most)
        try:
            yield given
        finally:
            await given.close()

    return form


async def _posted(request: Request, most: int) -> FormData:
    """The fields of a form as a browser sends it. Raises ProblemError for anything else."""
    kind, _, options = request.headers.get("content-type", "").partition(";")
    forms = ("multipart/form-data", "application/x-www-form-urlencoded")
    charset = re.search(r"charset=\"?([^\s;\"]+)", options)
    if kind.strip().lower() not in forms or (charset and charset[1].lower() != "utf-8"):
        raise ProblemError(415, "form", "send this as the form of the page does, in UTF-8")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or len(length) > 12:
        raise ProblemError(411, "length", "say how long the form is")
    if int(length) > most:
        raise ProblemError(413, "body-too-large", "this is too large; send fewer documents at once")
    try:
        # More than fit are counted where they are kept, and told there.
        return await request.form(
            max_files=MOST_DOCUMENTS * 5, max_fields=300, max_part_size=_FIELD_BYTES
        )
    except (HTTPException, MultiPartException, ValueError):
        raise ProblemError(400, "form", "the form was broken on its way; send it again") from None


# A form without documents, and one with them.
Small = Annotated[FormData, Depends(_of_at_most(256 * 1024))]
Large = Annotated[FormData, Depends(_of_at_most(32 * 1024 * 1024))]

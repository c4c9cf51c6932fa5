"""Documents for whoever may open the case: the address of each stands in what is sealed."""

from uuid import UUID

from fastapi import FastAPI
from fastapi.responses import Response
from itsdangerous import BadSignature, URLSafeSerializer

from services.intake.draftstore import PostgresDrafts
from services.intake.portal.apply import attachment
from shared.runtime.web import ProblemError, problems


def _signer(secret: bytes) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt="casebus-document")


def document_link(secret: bytes, url: str, case_id: UUID, digest: str) -> str:
    """The address of a document; who has it may fetch it."""
    token = _signer(secret).dumps([case_id.hex, digest])
    return f"{url}/documents/{token if isinstance(token, str) else token.decode()}"


def add_routes(app: FastAPI, secret: bytes, drafts: PostgresDrafts) -> None:
    @app.get(
        "/documents/{token}",
        response_class=Response,
        responses={
            200: {"description": "The document, as a file", "content": {"*/*": {}}},
            **problems(404, 503),
        },
    )
    async def document(token: str) -> Response:
        """A document of a case, as a file."""
        try:
            case_id, digest = _signer(secret).loads(token)
            found = await drafts.document(UUID(case_id), digest, "agency")
        except (BadSignature, ValueError, TypeError):
            found = None
        if found is None:
            raise ProblemError(404, "document-not-found", "there is no such document (any more)")
        media_type, content = found
        name = {"application/pdf": "document.pdf", "image/png": "document.png"}
        return attachment(name.get(media_type, "document.jpg"), media_type, content)

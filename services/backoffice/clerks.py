"""Who a clerk is: a signed token with name and agency that ends by itself."""

from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

HOURS_VALID = 12


@dataclass(frozen=True, slots=True)
class Clerk:
    name: str
    agency: str


def _serializer(secret: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret, salt="casebus-clerk")


def token(secret: str, clerk: Clerk) -> str:
    """A bearer token for HOURS_VALID hours."""
    signed = _serializer(secret).dumps([clerk.name, clerk.agency])
    return signed if isinstance(signed, str) else signed.decode()


def clerk_of(secret: str, bearer: str) -> Clerk | None:
    """The clerk who holds this token, or None when it is forged or too old."""
    try:
        name, agency = _serializer(secret).loads(bearer, max_age=HOURS_VALID * 3600)
    except (BadSignature, ValueError):
        return None
    return Clerk(name, agency)

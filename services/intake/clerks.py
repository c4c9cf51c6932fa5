"""Who files for citizens at the counter: a signed token with a name that ends by itself."""

from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

VALID_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Tokens:
    """Who may file for citizens. An empty secret: nobody."""

    secret: str

    def make(self, name: str) -> str:
        signed = self._signer().dumps(name)
        return signed if isinstance(signed, str) else signed.decode()

    def name(self, token: str) -> str | None:
        """The clerk's name; None when nobody has signed this, or it is half a day old."""
        if not self.secret:
            return None
        try:
            found = self._signer().loads(token, max_age=VALID_S)
        except BadSignature:
            return None
        return found if isinstance(found, str) else None

    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, salt="casebus-counter")

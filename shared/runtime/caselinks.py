"""Links from one service's page to another's, for the citizen of a case; they end by themselves."""

import hashlib
import hmac

from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import SecretStr

_VALID_S = 2 * 3600


class CaseLinks:
    """Intake makes them, the notifier takes them: both have the master key."""

    def __init__(self, master_key: SecretStr) -> None:
        key = master_key.get_secret_value().encode()
        secret = hmac.digest(key, b"case links", hashlib.sha256)
        self._signer = URLSafeTimedSerializer(secret, salt="casebus-case-link")

    def token(self, number: str) -> str:
        signed = self._signer.dumps(number)
        return signed if isinstance(signed, str) else signed.decode()

    def number(self, token: str) -> str | None:
        """The case's number; None when nobody has signed this, or it is two hours old."""
        try:
            found = self._signer.loads(token, max_age=_VALID_S)
        except BadSignature:
            return None
        return found if isinstance(found, str) else None

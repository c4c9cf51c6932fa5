"""The notifier's settings."""

from pydantic import SecretStr

from shared.runtime.settings import SealedSettings


class NotifierSettings(SealedSettings):
    """`smtp` and `smpp` are host:port of the providers; `track_url` is what messages name."""

    smtp: str
    smpp: str
    smpp_system_id: str = "casebus"
    smpp_password: SecretStr
    mail_from: str = "noreply@casebus.example"
    sms_from: str = "1999"
    track_url: str = "http://127.0.0.1:8081"

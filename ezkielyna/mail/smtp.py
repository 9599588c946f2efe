"""Letters that leave by a mail server."""

from __future__ import annotations

import ipaddress
from email.message import EmailMessage

import aiosmtplib

from ezkielyna.mail.carriers import Undelivered

TIMEOUT_S = 30.0


class Smtp:
    """Hands letters to a mail server, one connection a letter.

    TLS by STARTTLS where the server offers it. A password is sent over TLS only, unless the
    server is this machine.
    """

    def __init__(
        self, host: str, port: int, username: str, password: str, *, tls: bool = False
    ) -> None:
        self._host = host
        self._port = port
        self._username = username
        self._password = password
        self._tls = tls

    async def deliver(self, message: EmailMessage) -> None:
        """Send it; what the server refuses for good is final."""
        insist = bool(self._username) and not self._tls and not _here(self._host)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                username=self._username or None,
                password=self._password or None,
                use_tls=self._tls,
                start_tls=True if insist else None,
                timeout=TIMEOUT_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refusal.code for refusal in error.recipients]
            raise Undelivered(
                f"the mail server refused the address: {codes}", final=min(codes) >= 500
            ) from error
        except aiosmtplib.SMTPAuthenticationError as error:
            raise Undelivered("the mail server refused our name or password") from error
        except aiosmtplib.SMTPResponseException as error:
            raise Undelivered(
                f"the mail server answered {error.code}", final=error.code >= 500
            ) from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise Undelivered(
                f"the mail server cannot be reached: {type(error).__name__}"
            ) from error


def _here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

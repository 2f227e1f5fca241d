"""smtplib: python smtplib_client.py mail.example.org 587 FROM TO [trust.pem] <MESSAGE"""

import smtplib
import ssl
import sys

import gnutls_resume


def send(
    context: ssl.SSLContext, server: tuple[str, int], sender: str, recipient: str, message: str
) -> None:
    """`SMTP_SSL(..., context=context)` is the same for a port that begins with TLS."""
    with smtplib.SMTP(*server, timeout=10) as smtp:
        smtp.starttls(context=context)
        smtp.sendmail(sender, recipient, message)


if __name__ == "__main__":
    host, port, sender, recipient, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    message = sys.stdin.read()
    for _ in range(2):
        send(context, (host, int(port)), sender, recipient, message)

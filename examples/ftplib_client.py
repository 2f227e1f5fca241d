"""ftplib: python ftplib_client.py ftp.example.org 21 USER PASSWORD [trust.pem]

Many servers (vsftpd, ProFTPD, FileZilla) accept a data connection only if it resumes the session
of the control connection, which ftplib alone cannot do. Give each login a store of its own.
"""

import ftplib
import ssl
import sys

import gnutls_resume


def login(
    context: ssl.SSLContext, host: str, port: int, user: str, password: str
) -> ftplib.FTP_TLS:
    ftp = ftplib.FTP_TLS(context=context, timeout=10)
    ftp.connect(host, port)
    ftp.login(user, password)
    ftp.prot_p()  # TLS on the data connections too
    return ftp


if __name__ == "__main__":
    host, port, user, password, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), sessions=gnutls_resume.MemoryStore(), on_handshake=print
    )
    with login(context, host, int(port), user, password) as ftp:
        ftp.retrlines("LIST")

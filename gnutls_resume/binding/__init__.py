"""GnuTLS in Python's types, thin: one C function, one small method, its name less the prefix.

Who owns what, and on which thread:

=====================  ===================  ==============================  =====================
C object               owner                freed                           used by
=====================  ===================  ==============================  =====================
gnutls_session_t       Session              close(), or when collected      one thread, or one
                                                                            reader and one writer
certificate creds      Credentials          when collected; sessions hold   any, read only
                                            it
gnutls_priority_t      a cache, by string   when it falls out; GnuTLS       any, read only
                                            counts the sessions on it
gnutls_x509_crt_t      Certificate          when collected; its TrustList    any, read only
                                            holds it
x509_trust_list_t,     TrustList            when collected                  any, read only
x509_crl_t
gnutls_anti_replay_t   AntiReplay           when collected; sessions hold   any
                                            it
gr_transport           MemoryTransport,     when collected; the session     as the session;
                       SocketTransport      holds it                        feed, drain: any
ticket, sealing key    TicketKey,           wiped when closed or collected  any
                       TicketSecret,
                       SealingKey
callback handle        its Session or       with it; holds it weakly        the thread that runs
                       AntiReplay                                           the C call
what get_data2 and     the call             wiped and freed at its end      the calling thread
the like allocate
what retrieve returns  GnuTLS               by GnuTLS                       the calling thread
=====================  ===================  ==============================  =====================

Borrowed pointers (session ID, ALPN, peers' chain, hook messages) are copied at once.
"""

from gnutls_resume.binding._ffi import GNUTLS_VERSION
from gnutls_resume.binding.constants import (
    AlertLevel,
    CertificateRequest,
    CertificateStatus,
    ChannelBinding,
    HandshakeType,
    HookTime,
    InitFlag,
    Protocol,
    SessionFlag,
    Shutdown,
)
from gnutls_resume.binding.credentials import Credentials, KeyPair
from gnutls_resume.binding.db import (
    db_check_entry_expire_time,
    db_check_entry_time,
    db_get_default_cache_expiration,
)
from gnutls_resume.binding.early_data import AntiReplay
from gnutls_resume.binding.envelope import Kind, Sealing, SealingKey
from gnutls_resume.binding.session import Session
from gnutls_resume.binding.ticket import TicketKey, TicketKeyTable, TicketOffer, TicketSecret
from gnutls_resume.binding.transport import MemoryTransport
from gnutls_resume.binding.x509 import (
    MAX_CHAIN,
    NO_CRL,
    PROFILE_MEDIUM,
    Certificate,
    GeneralName,
    TrustList,
    certificate_verification_status_print,
    certificates_of,
    chain_not_after,
    crls_of,
    ip_address,
    rdn_sequence,
)

__all__ = [
    "GNUTLS_VERSION",
    "MAX_CHAIN",
    "NO_CRL",
    "PROFILE_MEDIUM",
    "AlertLevel",
    "AntiReplay",
    "Certificate",
    "CertificateRequest",
    "CertificateStatus",
    "ChannelBinding",
    "Credentials",
    "GeneralName",
    "HandshakeType",
    "HookTime",
    "InitFlag",
    "KeyPair",
    "Kind",
    "MemoryTransport",
    "Protocol",
    "Sealing",
    "SealingKey",
    "Session",
    "SessionFlag",
    "Shutdown",
    "TicketKey",
    "TicketKeyTable",
    "TicketOffer",
    "TicketSecret",
    "TrustList",
    "certificate_verification_status_print",
    "certificates_of",
    "chain_not_after",
    "crls_of",
    "db_check_entry_expire_time",
    "db_check_entry_time",
    "db_get_default_cache_expiration",
    "ip_address",
    "rdn_sequence",
]

void gnutls_session_set_verify_cert(gnutls_session_t session, const char *hostname,
                                    unsigned flags);
void gnutls_session_set_verify_function(gnutls_session_t session,
                                        int (*func)(gnutls_session_t));
unsigned int gnutls_session_get_verify_cert_status(gnutls_session_t session);
int gnutls_certificate_verify_peers3(gnutls_session_t session, const char *hostname,
                                     unsigned int *status);
int gnutls_certificate_verification_status_print(unsigned int status,
                                                 gnutls_certificate_type_t type,
                                                 gnutls_datum_t *out, unsigned int flags);
const gnutls_datum_t *gnutls_certificate_get_peers(gnutls_session_t session,
                                                   unsigned int *list_size);
const gnutls_datum_t *gnutls_certificate_get_ours(gnutls_session_t session);

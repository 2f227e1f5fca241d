int gnutls_handshake(gnutls_session_t session);
/* That, and nothing of a ticket's key stays on the stack; in session.c */
int gr_handshake(gnutls_session_t session);
int gnutls_reauth(gnutls_session_t session, unsigned int flags);
int gnutls_bye(gnutls_session_t session, gnutls_close_request_t how);
int gnutls_alert_send(gnutls_session_t session, gnutls_alert_level_t level,
                      gnutls_alert_description_t desc);
int gnutls_alert_send_appropriate(gnutls_session_t session, int err);
gnutls_alert_description_t gnutls_alert_get(gnutls_session_t session);
const char *gnutls_alert_get_name(gnutls_alert_description_t alert);

/* gnutls_handshake_set_hook_function, with the hook of session.c */
void gr_set_hook(gr_session *own);
/* gnutls_handshake_set_post_client_hello_function, with the function of session.c */
void gr_set_post_client_hello(gr_session *own);

/* gnutls_record_send, gnutls_record_recv: record.c */
int gr_record_send(gnutls_session_t session, const char *data, size_t size, size_t progress[2]);
ssize_t gr_record_recv(gnutls_session_t session, char *data, size_t size);
size_t gnutls_record_check_pending(gnutls_session_t session);
size_t gnutls_record_get_max_size(gnutls_session_t session);

/* Answered in _callbacks.py. */
extern "Python" {
    int gr_py_hook(gnutls_session_t, unsigned int, unsigned int, unsigned int,
                   const gnutls_datum_t *);
    int gr_py_post_client_hello(gnutls_session_t);
    int gr_py_verify(gnutls_session_t);
    int gr_py_keylog(gnutls_session_t, const char *, const gnutls_datum_t *);
    int gr_py_db_store(void *, gnutls_datum_t, gnutls_datum_t);
    gnutls_datum_t gr_py_db_retrieve(void *, gnutls_datum_t);
    int gr_py_db_remove(void *, gnutls_datum_t);
    int gr_py_anti_replay_add(void *, time_t, const gnutls_datum_t *, const gnutls_datum_t *);
}

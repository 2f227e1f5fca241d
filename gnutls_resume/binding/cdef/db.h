/* gnutls_db_set_ptr, _store_function, _retrieve_function, _remove_function; in session.c */
void gr_db_set_functions(gr_session *own);
void gnutls_db_remove_session(gnutls_session_t session);
void gnutls_db_set_cache_expiration(gnutls_session_t session, int seconds);
unsigned gnutls_db_get_default_cache_expiration(void);
int gnutls_db_check_entry(gnutls_session_t session, gnutls_datum_t session_entry);
time_t gnutls_db_check_entry_time(gnutls_datum_t *entry);
time_t gnutls_db_check_entry_expire_time(gnutls_datum_t *entry);

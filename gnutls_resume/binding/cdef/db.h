void gnutls_db_set_ptr(gnutls_session_t session, void *ptr);
void *gnutls_db_get_ptr(gnutls_session_t session);
void gnutls_db_set_store_function(gnutls_session_t session,
                                  int (*store_func)(void *, gnutls_datum_t, gnutls_datum_t));
void gnutls_db_set_retrieve_function(gnutls_session_t session,
                                     gnutls_datum_t (*retr_func)(void *, gnutls_datum_t));
void gnutls_db_set_remove_function(gnutls_session_t session,
                                   int (*rem_func)(void *, gnutls_datum_t));
void gnutls_db_remove_session(gnutls_session_t session);
void gnutls_db_set_cache_expiration(gnutls_session_t session, int seconds);
unsigned gnutls_db_get_default_cache_expiration(void);
int gnutls_db_check_entry(gnutls_session_t session, gnutls_datum_t session_entry);
time_t gnutls_db_check_entry_time(gnutls_datum_t *entry);
time_t gnutls_db_check_entry_expire_time(gnutls_datum_t *entry);

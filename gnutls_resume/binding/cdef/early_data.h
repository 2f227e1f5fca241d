ssize_t gnutls_record_send_early_data(gnutls_session_t session, const void *data, size_t length);
ssize_t gnutls_record_recv_early_data(gnutls_session_t session, void *data, size_t data_size);
size_t gnutls_record_get_max_early_data_size(gnutls_session_t session);
int gnutls_record_set_max_early_data_size(gnutls_session_t session, size_t size);
gnutls_cipher_algorithm_t gnutls_early_cipher_get(gnutls_session_t session);
gnutls_digest_algorithm_t gnutls_early_prf_hash_get(const gnutls_session_t session);

int gnutls_anti_replay_init(gnutls_anti_replay_t *anti_replay);
void gnutls_anti_replay_deinit(gnutls_anti_replay_t anti_replay);
void gnutls_anti_replay_set_window(gnutls_anti_replay_t anti_replay, unsigned int window);
void gnutls_anti_replay_set_ptr(gnutls_anti_replay_t anti_replay, void *ptr);
void gnutls_anti_replay_set_add_function(gnutls_anti_replay_t anti_replay,
                                         int (*add_func)(void *, time_t, const gnutls_datum_t *,
                                                         const gnutls_datum_t *));
void gnutls_anti_replay_enable(gnutls_session_t session, gnutls_anti_replay_t anti_replay);

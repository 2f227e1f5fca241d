/* gnutls_init, gnutls_session_set_ptr, gnutls_priority_set and gnutls_credentials_set */
int gr_init(gr_session *own, unsigned int flags, gnutls_priority_t priority,
            gnutls_certificate_credentials_t credentials);
/* gnutls_deinit */
void gr_deinit(gr_session *own);
void *gnutls_session_get_ptr(gnutls_session_t session);

int gnutls_priority_init2(gnutls_priority_t *priority_cache, const char *priorities,
                          const char **err_pos, unsigned flags);
void gnutls_priority_deinit(gnutls_priority_t priority_cache);
int gnutls_priority_set(gnutls_session_t session, gnutls_priority_t priority);

int gnutls_session_get_data2(gnutls_session_t session, gnutls_datum_t *data);
int gnutls_session_set_data(gnutls_session_t session, const void *session_data,
                            size_t session_data_size);
int gnutls_session_get_id2(gnutls_session_t session, gnutls_datum_t *session_id);
int gnutls_session_is_resumed(gnutls_session_t session);
int gnutls_session_resumption_requested(gnutls_session_t session);

void gnutls_session_get_random(gnutls_session_t session, gnutls_datum_t *client,
                               gnutls_datum_t *server);
void gnutls_session_set_keylog_function(gnutls_session_t session,
                                        int (*func)(gnutls_session_t, const char *,
                                                    const gnutls_datum_t *));
unsigned gnutls_session_get_flags(gnutls_session_t session);
char *gnutls_session_get_desc(gnutls_session_t session);
gnutls_protocol_t gnutls_protocol_get_version(gnutls_session_t session);
const char *gnutls_ciphersuite_get(gnutls_session_t session);
gnutls_kx_algorithm_t gnutls_kx_get(gnutls_session_t session);
gnutls_cipher_algorithm_t gnutls_cipher_get(gnutls_session_t session);
gnutls_mac_algorithm_t gnutls_mac_get(gnutls_session_t session);
const char *gnutls_cipher_suite_get_name(gnutls_kx_algorithm_t kx, gnutls_cipher_algorithm_t cipher,
                                         gnutls_mac_algorithm_t mac);
gnutls_group_t gnutls_group_get(gnutls_session_t session);
unsigned gnutls_session_ext_master_secret_status(gnutls_session_t session);
int gnutls_session_channel_binding(gnutls_session_t session, gnutls_channel_binding_t cbtype,
                                   gnutls_datum_t *cb);

int gnutls_server_name_set(gnutls_session_t session, gnutls_server_name_type_t type,
                           const void *name, size_t name_length);
int gnutls_server_name_get(gnutls_session_t session, void *data, size_t *data_length,
                           unsigned int *type, unsigned int indx);
int gnutls_alpn_set_protocols(gnutls_session_t session, const gnutls_datum_t *protocols,
                              unsigned protocols_size, unsigned flags);
int gnutls_alpn_get_selected_protocol(gnutls_session_t session, gnutls_datum_t *protocol);
int gnutls_priority_get_cipher_suite_index(gnutls_priority_t pcache, unsigned int idx,
                                           unsigned int *sidx);
const char *gnutls_cipher_suite_info(size_t idx, unsigned char *cs_id, gnutls_kx_algorithm_t *kx,
                                     gnutls_cipher_algorithm_t *cipher,
                                     gnutls_mac_algorithm_t *mac,
                                     gnutls_protocol_t *min_version);

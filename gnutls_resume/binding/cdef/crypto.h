int gnutls_rnd(gnutls_rnd_level_t level, void *data, size_t len);
int gnutls_hkdf_extract(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                        const gnutls_datum_t *salt, void *output);
int gnutls_hkdf_expand(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                       const gnutls_datum_t *info, void *output, size_t length);
int gnutls_aead_cipher_init(gnutls_aead_cipher_hd_t *handle, gnutls_cipher_algorithm_t cipher,
                            const gnutls_datum_t *key);
void gnutls_aead_cipher_deinit(gnutls_aead_cipher_hd_t handle);
int gnutls_aead_cipher_encryptv2(gnutls_aead_cipher_hd_t handle, const void *nonce,
                                 size_t nonce_len, const giovec_t *auth_iov, int auth_iovcnt,
                                 const giovec_t *iov, int iovcnt, void *tag, size_t *tag_size);
int gnutls_aead_cipher_decryptv2(gnutls_aead_cipher_hd_t handle, const void *nonce,
                                 size_t nonce_len, const giovec_t *auth_iov, int auth_iovcnt,
                                 const giovec_t *iov, int iovcnt, void *tag, size_t tag_size);

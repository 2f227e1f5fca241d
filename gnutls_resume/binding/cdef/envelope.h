/* envelope.c */
#define GR_CHECKSUM_SIZE ...
#define GR_TAG_SIZE ...

int gr_close(unsigned char *output, const unsigned char *header, size_t header_size,
             const unsigned char *store_key, size_t store_key_size,
             const gnutls_datum_t *sealing_key, const unsigned char *salt,
             const unsigned char *prefix, size_t prefix_size, const gnutls_datum_t *data);
int gr_verify(const unsigned char *envelope, size_t header_size, size_t size,
              const unsigned char *store_key, size_t store_key_size);
unsigned char *gr_decrypt(const unsigned char *envelope, size_t header_size, size_t size,
                          const unsigned char *store_key, size_t store_key_size,
                          const gnutls_datum_t *sealing_key, const unsigned char *salt);

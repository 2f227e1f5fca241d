/* The check of an envelope: envelope.py describes the format, and writes and reads its header.
 * Keys and decrypted sessions stay in here, and are wiped. */

#define GR_CHECKSUM_SIZE 32
#define GR_TAG_SIZE 16

#define GR_SALT_SIZE 32

/* The header and the store key are authenticated with the body. */
typedef struct {
	const unsigned char *header;
	size_t header_size;
	const unsigned char *store_key;
	size_t store_key_size;
} gr_seal;

static const char gr_info[] = "gnutls_resume session";
/* One message a key, so the nonce may be constant (RFC 5116 §3.1). */
static const unsigned char gr_nonce[12];

/* HKDF-SHA256 (RFC 5869). */
static int gr_derive(const gnutls_datum_t *key, const unsigned char salt[GR_SALT_SIZE],
		     unsigned char *output, size_t size)
{
	const gnutls_datum_t salt_datum = { (void *)salt, GR_SALT_SIZE };
	const gnutls_datum_t info = { (void *)gr_info, sizeof(gr_info) - 1 };
	unsigned char extracted[32];
	const gnutls_datum_t extracted_datum = { extracted, sizeof(extracted) };
	int code = gnutls_hkdf_extract(GNUTLS_MAC_SHA256, key, &salt_datum, extracted);

	if (code >= 0)
		code = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &extracted_datum, &info, output, size);
	gnutls_memset(extracted, 0, sizeof(extracted));
	return code;
}

static void gr_number(unsigned char bytes[4], size_t number)
{
	bytes[0] = (unsigned char)(number >> 24);
	bytes[1] = (unsigned char)(number >> 16);
	bytes[2] = (unsigned char)(number >> 8);
	bytes[3] = (unsigned char)number;
}

static int gr_checksum(const gr_seal *seal, const void *body, size_t size,
		       unsigned char checksum[GR_CHECKSUM_SIZE])
{
	unsigned char length[4];
	gnutls_hash_hd_t hash;
	int code = gnutls_hash_init(&hash, GNUTLS_DIG_SHA256);

	if (code < 0)
		return code;
	gr_number(length, seal->store_key_size);
	gnutls_hash(hash, seal->header, seal->header_size);
	gnutls_hash(hash, length, sizeof(length));
	gnutls_hash(hash, seal->store_key, seal->store_key_size);
	gnutls_hash(hash, body, size);
	gnutls_hash_deinit(hash, checksum);
	return 0;
}

/* AES-256-GCM in place, with the tag behind the body. */
static int gr_crypt(const gr_seal *seal, const gnutls_datum_t *sealing_key,
		    const unsigned char salt[GR_SALT_SIZE], int encrypt, unsigned char *body,
		    size_t size, unsigned char *tag)
{
	unsigned char derived[32], length[4];
	const gnutls_datum_t key = { derived, sizeof(derived) };
	const giovec_t authenticated[] = {
		{ (void *)seal->header, seal->header_size },
		{ length, sizeof(length) },
		{ (void *)seal->store_key, seal->store_key_size },
	};
	const giovec_t text = { body, size };
	size_t tag_size = GR_TAG_SIZE;
	gnutls_aead_cipher_hd_t cipher;
	int code = gr_derive(sealing_key, salt, derived, sizeof(derived));

	gr_number(length, seal->store_key_size);
	if (code >= 0)
		code = gnutls_aead_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_GCM, &key);
	gnutls_memset(derived, 0, sizeof(derived));
	if (code < 0)
		return code;
	if (encrypt)
		code = gnutls_aead_cipher_encryptv2(cipher, gr_nonce, sizeof(gr_nonce),
						    authenticated, 3, &text, 1, tag, &tag_size);
	else
		code = gnutls_aead_cipher_decryptv2(cipher, gr_nonce, sizeof(gr_nonce),
						    authenticated, 3, &text, 1, tag, GR_TAG_SIZE);
	gnutls_aead_cipher_deinit(cipher);
	return code;
}

/* Write header, body (prefix and data) and check behind each other into `output`. Without a
 * sealing key the check is a checksum. */
int gr_close(unsigned char *output, const unsigned char *header, size_t header_size,
	     const unsigned char *store_key, size_t store_key_size,
	     const gnutls_datum_t *sealing_key, const unsigned char *salt,
	     const unsigned char *prefix, size_t prefix_size, const gnutls_datum_t *data)
{
	const gr_seal seal = { header, header_size, store_key, store_key_size };
	unsigned char *body = output + header_size;
	size_t size = prefix_size + data->size;

	memcpy(output, header, header_size);
	memcpy(body, prefix, prefix_size);
	memcpy(body + prefix_size, data->data, data->size);
	if (sealing_key == NULL)
		return gr_checksum(&seal, body, size, body + size);
	return gr_crypt(&seal, sealing_key, salt, 1, body, size, body + size);
}

/* Whether the checksum behind a body of `size` bytes is right. */
int gr_verify(const unsigned char *envelope, size_t header_size, size_t size,
	      const unsigned char *store_key, size_t store_key_size)
{
	const gr_seal seal = { envelope, header_size, store_key, store_key_size };
	const unsigned char *body = envelope + header_size;
	unsigned char checksum[GR_CHECKSUM_SIZE];

	return gr_checksum(&seal, body, size, checksum) >= 0 &&
	       memcmp(checksum, body + size, sizeof(checksum)) == 0;
}

/* A body of `size` bytes in clear, for gr_wipe_free; NULL if it was not sealed so. */
unsigned char *gr_decrypt(const unsigned char *envelope, size_t header_size, size_t size,
			  const unsigned char *store_key, size_t store_key_size,
			  const gnutls_datum_t *sealing_key, const unsigned char *salt)
{
	const gr_seal seal = { envelope, header_size, store_key, store_key_size };
	const unsigned char *body = envelope + header_size;
	unsigned char *clear = gnutls_malloc(size);
	unsigned char tag[GR_TAG_SIZE];

	if (clear == NULL)
		return NULL;
	memcpy(clear, body, size);
	memcpy(tag, body + size, sizeof(tag));
	if (gr_crypt(&seal, sealing_key, salt, 0, clear, size, tag) >= 0)
		return clear;
	gr_wipe_free(clear, size);
	return NULL;
}

/* What a server reads in a ClientHello before GnuTLS does, and its ticket key, made from that.
 *
 * - The parser gets what any stranger sends. It never reads past the message, allocates nothing
 *   and keeps no pointer. A message that is not well formed says nothing: GnuTLS refuses it.
 * - The key is derived once a session, from all that decides whether a ticket may be used: a
 *   ticket made under anything else is then simply unknown, and the handshake is full. GnuTLS
 *   itself compares little of it, and fails where a TLS 1.2 ticket meets TLS 1.3.
 * - Keys stand nowhere but on the stack, which gr_handshake wipes when GnuTLS is done.
 * - A failure here never costs a connection: it goes on without tickets, and is counted.
 * - Nothing here touches Python: cffi has released the GIL.
 */

#define GR_MAX_NAME 255 /* bytes; RFC 1035 §2.3.4 */
#define GR_KEY_NAME_SIZE 16
#define GR_TICKET_KEY_SIZE 64
#define GR_TICKET_SECRET_SIZE 32
#define GR_POLICY_SIZE 32
#define GR_MAX_TICKET_SECRETS 8

#define GR_OFFERED_NONE 0
#define GR_OFFERED_UNKNOWN_KEY 1
#define GR_OFFERED_KNOWN_KEY 2

typedef struct {
	int seen;
	unsigned char name_size;
	unsigned char offers_ticket, offers_psk;
	char name[GR_MAX_NAME + 1]; /* of the host; empty: none */
	/* The first bytes of the TLS 1.2 ticket (RFC 5077 §3.2) and of the first TLS 1.3 identity
	 * (RFC 8446 §4.2.11). By them GnuTLS knows its keys; a shorter ticket is none of its own. */
	unsigned char ticket[GR_KEY_NAME_SIZE], psk[GR_KEY_NAME_SIZE];
} gr_client_hello;

/* -- the parser --------------------------------------------------------------------------- */

typedef struct {
	const unsigned char *data;
	size_t size;
} gr_bytes;

/* Cut the first bytes off; 0 if there are not as many. */
static int gr_cut(gr_bytes *from, size_t size, gr_bytes *cut)
{
	if (from->size < size)
		return 0;
	cut->data = from->data;
	cut->size = size;
	from->data += size;
	from->size -= size;
	return 1;
}

/* Cut off a vector, behind its length in so many bytes (RFC 8446 §3.4). */
static int gr_cut_vector(gr_bytes *from, size_t width, gr_bytes *vector)
{
	gr_bytes length;
	size_t size = 0;

	if (!gr_cut(from, width, &length))
		return 0;
	for (size_t i = 0; i < width; i++)
		size = size << 8 | length.data[i];
	return gr_cut(from, size, vector);
}

static void gr_read_key_name(gr_bytes ticket, unsigned char name[GR_KEY_NAME_SIZE])
{
	memcpy(name, ticket.data, ticket.size < GR_KEY_NAME_SIZE ? ticket.size : GR_KEY_NAME_SIZE);
}

/* RFC 6066 §3. GnuTLS, too, takes the first name of a host, and only letters of ASCII. */
static int gr_read_server_name(gr_bytes extension, gr_client_hello *hello)
{
	gr_bytes list, type, name;

	if (!gr_cut_vector(&extension, 2, &list))
		return 0;
	while (list.size) {
		if (!gr_cut(&list, 1, &type) || !gr_cut_vector(&list, 2, &name))
			return 0;
		if (type.data[0] != 0)
			continue;
		if (name.size > GR_MAX_NAME)
			return 0;
		for (size_t i = 0; i < name.size; i++)
			if (name.data[i] <= ' ' || name.data[i] > '~')
				return 0;
		memcpy(hello->name, name.data, name.size);
		hello->name_size = (unsigned char)name.size;
		return 1;
	}
	return 1;
}

/* Where TLS 1.2 is negotiated GnuTLS does not look at this one, and takes the hello with any. */
static int gr_read_psk(gr_bytes extension, gr_client_hello *hello)
{
	gr_bytes identities, identity;

	if (gr_cut_vector(&extension, 2, &identities) && gr_cut_vector(&identities, 2, &identity) &&
	    identity.size) {
		gr_read_key_name(identity, hello->psk);
		hello->offers_psk = 1;
	}
	return 1;
}

static int gr_read_extension(unsigned int type, gr_bytes extension, gr_client_hello *hello)
{
	switch (type) {
	case 0:
		return gr_read_server_name(extension, hello);
	case 35: /* session_ticket; empty: only asks for one */
		if (extension.size) {
			gr_read_key_name(extension, hello->ticket);
			hello->offers_ticket = 1;
		}
		return 1;
	case 41: /* pre_shared_key */
		return gr_read_psk(extension, hello);
	default:
		return 1;
	}
}

static int gr_read_client_hello(gr_bytes message, gr_client_hello *hello)
{
	gr_bytes skipped, extensions, type, extension;

	/* version and random, session ID, cipher suites, compression methods */
	if (!gr_cut(&message, 2 + 32, &skipped) || !gr_cut_vector(&message, 1, &skipped) ||
	    !gr_cut_vector(&message, 2, &skipped) || !gr_cut_vector(&message, 1, &skipped) ||
	    !gr_cut_vector(&message, 2, &extensions) || message.size)
		return 0;
	while (extensions.size)
		if (!gr_cut(&extensions, 2, &type) || !gr_cut_vector(&extensions, 2, &extension) ||
		    !gr_read_extension(type.data[0] << 8 | type.data[1], extension, hello))
			return 0;
	return 1;
}

/* The body of a ClientHello (RFC 8446 §4.1.2), without its header of 4 bytes. */
static void gr_parse_client_hello(const unsigned char *data, size_t size, gr_client_hello *hello)
{
	static const gr_client_hello nothing;
	const gr_bytes message = { data, size };

	*hello = nothing;
	if (!gr_read_client_hello(message, hello))
		*hello = nothing;
	hello->seen = 1;
}

/* -- the ticket key ----------------------------------------------------------------------- */

/* The secrets of which a ticket's key may have been made, the current one first; held by the Python
 * session. A secret that ends is wiped while sessions may still look at it. */
typedef struct {
	unsigned int count;
	const gnutls_datum_t *secrets[GR_MAX_TICKET_SECRETS];
} gr_ticket_table;

typedef struct {
	const gr_ticket_table *table; /* NULL: derive none */
	unsigned char policy[GR_POLICY_SIZE];
	int done; /* after a HelloRetryRequest a second key would be refused, and end the handshake */
	int known;
	unsigned int failures;
} gr_tickets;

#define GR_WIPED_STACK 16384 /* bytes; GnuTLS leaves secrets at up to 8,000 */

/* Wipe what functions that have returned left on the stack below the caller's frame: keys of ours,
 * those that GnuTLS derives from them, and secrets as HMAC pads them. */
static __attribute__((noinline)) void gr_wipe_stack(void)
{
	unsigned char below[GR_WIPED_STACK];

	gnutls_memset(below, 0, sizeof(below));
}

static const char gr_ticket_label[] = "ticket key";
static const unsigned char gr_no_early_data;

static unsigned char *gr_put(unsigned char *at, const void *part, size_t size)
{
	*at++ = (unsigned char)size;
	if (size)
		memcpy(at, part, size);
	return at + size;
}

/* HKDF-Expand (RFC 5869 §2.3): the secret is random, so there is nothing to extract. */
static int gr_ticket_key(gnutls_session_t session, const gr_tickets *tickets,
			 const gnutls_datum_t *from, const gr_client_hello *hello,
			 unsigned char key[GR_TICKET_KEY_SIZE])
{
	const gnutls_datum_t secret = { from->data, GR_TICKET_SECRET_SIZE };
	const unsigned char version = (unsigned char)gnutls_protocol_get_version(session);
	gnutls_datum_t alpn = { NULL, 0 };
	unsigned char info[6 * 256], *end = info;
	gnutls_datum_t info_datum = { info, 0 };
	int code;

	if (gnutls_alpn_get_selected_protocol(session, &alpn) < 0)
		alpn.size = 0;
	if (alpn.size > 255)
		return GNUTLS_E_INVALID_REQUEST;
	end = gr_put(end, gr_ticket_label, sizeof(gr_ticket_label) - 1);
	end = gr_put(end, tickets->policy, sizeof(tickets->policy));
	end = gr_put(end, &version, 1);
	end = gr_put(end, alpn.data, alpn.size);
	end = gr_put(end, hello->name, hello->name_size);
	end = gr_put(end, &gr_no_early_data, 1);
	info_datum.size = (unsigned int)(end - info);
	code = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &secret, &info_datum, key, GR_TICKET_KEY_SIZE);
	/* Has the secret been wiped, or is it, in another thread? Its size goes to 0 before its
	 * bytes do, so it must be looked at after them. */
	atomic_thread_fence(memory_order_seq_cst);
	if (*(const volatile unsigned int *)&from->size == 0)
		code = GNUTLS_E_INVALID_REQUEST;
	return code;
}

/* Whether the name of a ticket offered is that of the key which GnuTLS derives from ours for this
 * period, or for the one before (stek.c in GnuTLS). A lifetime of 0 is its default. */
static int gr_is_known(const unsigned char key[GR_TICKET_KEY_SIZE], unsigned int lifetime,
		       const gr_client_hello *hello)
{
	const uint64_t seconds = lifetime ? lifetime : gnutls_db_get_default_cache_expiration();
	unsigned char input[8 + GR_TICKET_KEY_SIZE], derived[GR_TICKET_KEY_SIZE];
	uint64_t period = (uint64_t)time(NULL) / (3 * seconds);
	int known = 0;

	memcpy(input + 8, key, GR_TICKET_KEY_SIZE);
	for (int back = 0; back < 2 && !known; back++, period--) {
		for (int i = 0; i < 8; i++)
			input[i] = (unsigned char)(period >> (56 - 8 * i));
		if (gnutls_hash_fast(GNUTLS_DIG_SHA3_512, input, sizeof(input), derived) < 0)
			break;
		known = memcmp(derived, hello->ticket, GR_KEY_NAME_SIZE) == 0 ||
			memcmp(derived, hello->psk, GR_KEY_NAME_SIZE) == 0;
	}
	return known;
}

/* The key of which a ticket that is offered was made, or else the current one. */
static int gr_choose_ticket_key(gnutls_session_t session, const gr_tickets *tickets,
				const gr_client_hello *hello, unsigned int lifetime,
				unsigned char key[GR_TICKET_KEY_SIZE], int *known)
{
	const gr_ticket_table *table = tickets->table;
	unsigned char other[GR_TICKET_KEY_SIZE];
	int code = gr_ticket_key(session, tickets, table->secrets[0], hello, key);

	*known = 0;
	if (!hello->offers_ticket && !hello->offers_psk)
		return code;
	*known = code >= 0 && gr_is_known(key, lifetime, hello);
	for (unsigned int i = 1; i < table->count && !*known; i++) {
		if (gr_ticket_key(session, tickets, table->secrets[i], hello, other) < 0)
			continue; /* its time is over */
		if (gr_is_known(other, lifetime, hello)) {
			memcpy(key, other, sizeof(other));
			*known = 1;
			code = 0;
		}
	}
	return code;
}

/* Whether the client's ticket will be resumed: then there is no need to look for its session ID. */
static int gr_ticket_is_known(gnutls_session_t session, const gr_tickets *tickets,
			      const gr_client_hello *hello, unsigned int lifetime)
{
	unsigned char key[GR_TICKET_KEY_SIZE];
	int known = 0;

	if (tickets->table && hello->offers_ticket)
		gr_choose_ticket_key(session, tickets, hello, lifetime, key, &known);
	return known;
}

/* Enable tickets, where the version, the protocol and the name are known and no ticket has been
 * looked at: in the post-client-hello function. Not if Python's has set other priorities: GnuTLS
 * negotiates the version anew after it, and the key might be for the wrong one. */
static void gr_enable_tickets(gnutls_session_t session, gr_tickets *tickets,
			      const gr_client_hello *hello, unsigned int lifetime, int sure)
{
	unsigned char key[GR_TICKET_KEY_SIZE];
	const gnutls_datum_t key_datum = { key, sizeof(key) };
	int code = GNUTLS_E_INVALID_REQUEST;

	if (tickets->table == NULL || tickets->done)
		return;
	if (gnutls_session_is_resumed(session)) /* by its ID: no ticket is read, nor sent */
		return;
	/* A resumption without extended master secret would have to be refused (RFC 7627 §5.3), and
	 * a client that cannot do it would come back with its ticket again and again. */
	if (gnutls_protocol_get_version(session) < GNUTLS_TLS1_3 &&
	    !gnutls_session_ext_master_secret_status(session))
		return;
	tickets->done = 1;
	if (sure)
		code = gr_choose_ticket_key(session, tickets, hello, lifetime, key,
					    &tickets->known);
	if (code >= 0)
		code = gnutls_session_ticket_enable_server(session, &key_datum);
	if (code < 0)
		tickets->failures++;
}

/* -- the ratchet -------------------------------------------------------------------------- */

static const unsigned char gr_ratchet_label[] = "\7ratchet"; /* behind its length, as in a key */

/* The secret so many epochs later. There is no way back (HKDF-Expand, RFC 5869 §2.3). */
int gr_ratchet(const gnutls_datum_t *secret, uint64_t steps, unsigned char *later)
{
	const gnutls_datum_t info = { (unsigned char *)gr_ratchet_label,
				      sizeof(gr_ratchet_label) - 1 };
	gnutls_datum_t at = { later, GR_TICKET_SECRET_SIZE };
	unsigned char next[GR_TICKET_SECRET_SIZE];
	int code = 0;

	memcpy(later, secret->data, GR_TICKET_SECRET_SIZE);
	while (steps-- && code >= 0) {
		code = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &at, &info, next, sizeof(next));
		memcpy(later, next, sizeof(next));
	}
	gnutls_memset(next, 0, sizeof(next)); /* in this frame, not below it */
	gr_wipe_stack();
	return code;
}

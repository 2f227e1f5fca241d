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

#define GR_MAX_CONTEXT (11 + 33 + 2 + 256 + 256 + 2) /* bytes; what gr_ticket_context puts there */
#define GR_REMEMBERED 16 /* contexts; a client can invent them, so what is here may be lost */

/* The names of the keys that GnuTLS derives from ours in one context: for each secret that of its
 * period, and that of the one before. They are no secrets: they stand in every ticket. */
typedef struct {
	uint64_t period;
	uint32_t lifetime;
	size_t size; /* of the context; 0: nothing is remembered */
	unsigned char context[GR_MAX_CONTEXT];
	int named[GR_MAX_TICKET_SECRETS]; /* not, if the secret had been wiped */
	unsigned char names[GR_MAX_TICKET_SECRETS][2][GR_KEY_NAME_SIZE];
} gr_key_names;

/* The secrets of which a ticket's key may have been made, the current one first; held by the Python
 * session. A secret that ends is wiped while sessions may still look at it. Names are remembered
 * because to find that of a key takes twice as long as to make the key. */
typedef struct {
	unsigned int count;
	const gnutls_datum_t *secrets[GR_MAX_TICKET_SECRETS];
	atomic_flag busy; /* a thread uses what follows; nobody waits, others do without */
	gr_key_names remembered[GR_REMEMBERED];
} gr_ticket_table;

typedef struct {
	gr_ticket_table *table; /* NULL: derive none */
	unsigned char policy[GR_POLICY_SIZE];
	int done; /* after a HelloRetryRequest a second key would be refused, and end the handshake */
	int known;
	unsigned int failures;
} gr_tickets;

#define GR_WIPED_STACK 12288 /* bytes; GnuTLS leaves secrets at up to 7,300 */

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

/* All that decides whether a ticket may be used. */
static int gr_ticket_context(gnutls_session_t session, const gr_tickets *tickets,
			     const gr_client_hello *hello, unsigned char context[GR_MAX_CONTEXT])
{
	const unsigned char version = (unsigned char)gnutls_protocol_get_version(session);
	gnutls_datum_t alpn = { NULL, 0 };
	unsigned char *end = context;

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
	return (int)(end - context);
}

/* HKDF-Expand (RFC 5869 §2.3): the secret is random, so there is nothing to extract. */
static int gr_ticket_key(const gnutls_datum_t *from, const unsigned char *context, size_t size,
			 unsigned char key[GR_TICKET_KEY_SIZE])
{
	const gnutls_datum_t secret = { from->data, GR_TICKET_SECRET_SIZE };
	const gnutls_datum_t info = { (unsigned char *)context, (unsigned int)size };
	int code = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &secret, &info, key, GR_TICKET_KEY_SIZE);

	/* Has the secret been wiped, or is it, in another thread? Its size goes to 0 before its
	 * bytes do, so it must be looked at after them. */
	atomic_thread_fence(memory_order_seq_cst);
	if (*(const volatile unsigned int *)&from->size == 0)
		code = GNUTLS_E_INVALID_REQUEST;
	return code;
}

/* The name of the key that GnuTLS derives from ours in a period (stek.c in GnuTLS). */
static int gr_key_name(const unsigned char key[GR_TICKET_KEY_SIZE], uint64_t period,
		       unsigned char name[GR_KEY_NAME_SIZE])
{
	unsigned char input[8 + GR_TICKET_KEY_SIZE], derived[GR_TICKET_KEY_SIZE];
	int code;

	for (int i = 0; i < 8; i++)
		input[i] = (unsigned char)(period >> (56 - 8 * i));
	memcpy(input + 8, key, GR_TICKET_KEY_SIZE);
	code = gnutls_hash_fast(GNUTLS_DIG_SHA3_512, input, sizeof(input), derived);
	memcpy(name, derived, GR_KEY_NAME_SIZE);
	return code;
}

/* Fill in the names for what stands above them. */
static void gr_name_keys(const gr_ticket_table *table, gr_key_names *of)
{
	unsigned char key[GR_TICKET_KEY_SIZE];

	for (unsigned int i = 0; i < table->count; i++)
		of->named[i] = gr_ticket_key(table->secrets[i], of->context, of->size, key) >= 0 &&
			       gr_key_name(key, of->period, of->names[i][0]) >= 0 &&
			       gr_key_name(key, of->period - 1, of->names[i][1]) >= 0;
}

/* Which secret's key has this name, or -1. */
static int gr_with_name(const gr_ticket_table *table, const gr_key_names *of,
			const unsigned char *name)
{
	for (unsigned int i = 0; i < table->count; i++)
		if (of->named[i] && (memcmp(of->names[i][0], name, GR_KEY_NAME_SIZE) == 0 ||
				     memcmp(of->names[i][1], name, GR_KEY_NAME_SIZE) == 0))
			return (int)i;
	return -1;
}

/* Where the names of a context are remembered, if they are (FNV-1a). */
static size_t gr_place_of(const unsigned char *context, size_t size)
{
	uint32_t hash = 2166136261u;

	for (size_t i = sizeof(gr_ticket_label); i < size; i++)
		hash = (hash ^ context[i]) * 16777619u;
	return hash % GR_REMEMBERED;
}

/* Of which secret the ticket's key was made that is offered for this version, or -1. A lifetime of
 * 0 is GnuTLS's default. */
static int gr_offered_secret(gnutls_session_t session, const gr_tickets *tickets,
			     const gr_client_hello *hello, unsigned int lifetime,
			     const unsigned char *context, size_t size)
{
	const int tls13 = gnutls_protocol_get_version(session) >= GNUTLS_TLS1_3;
	const unsigned char *name = tls13 ? hello->psk : hello->ticket;
	gr_ticket_table *table = tickets->table;
	gr_key_names ours, *names = &ours;
	uint64_t period;
	int locked, found;

	if (!(tls13 ? hello->offers_psk : hello->offers_ticket))
		return -1;
	if (lifetime == 0)
		lifetime = gnutls_db_get_default_cache_expiration();
	period = (uint64_t)time(NULL) / (3 * (uint64_t)lifetime);
	locked = !atomic_flag_test_and_set(&table->busy);
	if (locked)
		names = &table->remembered[gr_place_of(context, size)];
	if (!locked || names->period != period || names->lifetime != lifetime ||
	    names->size != size || memcmp(names->context, context, size) != 0) {
		names->period = period;
		names->lifetime = lifetime;
		names->size = size;
		memcpy(names->context, context, size);
		gr_name_keys(table, names);
	}
	found = gr_with_name(table, names, name);
	if (locked)
		atomic_flag_clear(&table->busy);
	return found;
}

/* The key of which a ticket that is offered was made, or else the current one. */
static int gr_choose_ticket_key(gnutls_session_t session, const gr_tickets *tickets,
				const gr_client_hello *hello, unsigned int lifetime,
				unsigned char key[GR_TICKET_KEY_SIZE], int *known)
{
	const gr_ticket_table *table = tickets->table;
	unsigned char context[GR_MAX_CONTEXT];
	int size = gr_ticket_context(session, tickets, hello, context);
	int offered;

	*known = 0;
	if (size < 0)
		return size;
	offered = gr_offered_secret(session, tickets, hello, lifetime, context, (size_t)size);
	if (offered >= 0)
		*known = gr_ticket_key(table->secrets[offered], context, (size_t)size, key) >= 0;
	return *known ? 0 : gr_ticket_key(table->secrets[0], context, (size_t)size, key);
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

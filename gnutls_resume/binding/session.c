/* The C side of a Session: its start, the handshake hook, and the memory of secrets.
 *
 * The hook notes when a session ticket arrives and for how long it is valid, and what a ClientHello
 * offers: no other function of the library tells. Python is called for the messages it asked for, and for no others, since
 * a call costs more than the rest of a small message.
 */

#define GR_LOOKERS 8

typedef struct {
	gnutls_session_t c;
	void *handle;		/* of the Python object that answers the callbacks */
	uint32_t before, after; /* message types, a bit each, for which Python is called */
	unsigned int tickets;	/* received */
	uint32_t ticket_lifetime; /* seconds, of the last one */
	int64_t ticket_arrival;	/* Unix seconds */
	int state, role;	/* bits of a rule, below */
	uint32_t cache_expiration; /* seconds; 0: GnuTLS's default */
	int python_hello;	/* Python has a post-client-hello function */
	int reprioritized;	/* versions may have changed since one was negotiated */
	gr_client_hello hello;	/* the last one, on a server */
	gr_tickets derived;
	pthread_mutex_t lock;	/* for what follows */
	uint64_t reader, writer, lookers[GR_LOOKERS]; /* their calls; 0: none */
	struct {
		int place; /* 0, GR_IN_HELLO or GR_IN_CALLBACK */
		pthread_t thread;
	} callbacks[2]; /* of the reader, of the writer */
} gr_session;

/* -- who may use a session, and when (see _rule.py) --------------------------------------- */

#define GR_LOOK 0 /* a turn: beside a reader and a writer */
/* GR_READ 1, GR_WRITE 2, GR_READ | GR_WRITE: alone */
#define GR_NEW 4 /* states */
#define GR_STARTED 8
#define GR_DONE 16
#define GR_CLOSED 32
#define GR_CLIENT 64 /* roles */
#define GR_SERVER 128
#define GR_IN_HELLO 256 /* places of a callback */
#define GR_IN_CALLBACK 512

#define GR_BUSY (-1)
#define GR_WRONG_STATE (-2)
#define GR_WRONG_ROLE (-3)
#define GR_WRONG_PLACE (-4)

/* Where the calling thread's callback is, or 0 outside of one. */
static int gr_place(const gr_session *own)
{
	for (int i = 0; i < 2; i++)
		if (own->callbacks[i].place && pthread_equal(own->callbacks[i].thread, pthread_self()))
			return own->callbacks[i].place;
	return 0;
}

static int gr_take(gr_session *own, int turns, uint64_t call)
{
	int i;

	if (turns == (GR_READ | GR_WRITE)) {
		for (i = 0; i < GR_LOOKERS; i++)
			if (own->lookers[i])
				return GR_BUSY;
	} else if (turns == GR_LOOK) {
		if (own->reader && own->reader == own->writer)
			return GR_BUSY; /* somebody is alone */
		for (i = 0; i < GR_LOOKERS; i++)
			if (!own->lookers[i]) {
				own->lookers[i] = call;
				return 0;
			}
		return GR_BUSY;
	}
	if ((turns & GR_READ && own->reader) || (turns & GR_WRITE && own->writer))
		return GR_BUSY;
	if (turns & GR_READ)
		own->reader = call;
	if (turns & GR_WRITE)
		own->writer = call;
	return 0;
}

static int gr_admit(gr_session *own, int rule, uint64_t call)
{
	int turns = rule & (GR_READ | GR_WRITE);
	int place = gr_place(own);

	if (place) {
		/* The thread has the session already, and goes on with it later. */
		if (turns && !(rule & place))
			return GR_WRONG_PLACE;
		if (!turns && !(rule & own->state))
			return GR_WRONG_STATE;
		return rule & own->role ? 0 : GR_WRONG_ROLE;
	}
	if (!(rule & own->state)) {
		/* A session in use changes its state when its call ends: it is busy, not wrong. */
		int busy = gr_take(own, turns, call);

		return busy ? busy : GR_WRONG_STATE;
	}
	if (!(rule & own->role))
		return GR_WRONG_ROLE;
	return gr_take(own, turns, call);
}

/* Give back what the call has taken, if anything. */
static void gr_give_back(gr_session *own, uint64_t call)
{
	if (own->reader == call)
		own->reader = 0;
	if (own->writer == call)
		own->writer = 0;
	for (int i = 0; i < GR_LOOKERS; i++)
		if (own->lookers[i] == call)
			own->lookers[i] = 0;
}

/* Take what the rule's turn needs, for a call with a number of its own; or say why not. Nothing
 * waits. */
int gr_enter(gr_session *own, int rule, uint64_t call)
{
	int refusal;

	pthread_mutex_lock(&own->lock);
	refusal = gr_admit(own, rule, call);
	if (refusal)
		gr_give_back(own, call);
	pthread_mutex_unlock(&own->lock);
	return refusal;
}

void gr_leave(gr_session *own, uint64_t call)
{
	pthread_mutex_lock(&own->lock);
	gr_give_back(own, call);
	pthread_mutex_unlock(&own->lock);
}

/* A callback begins, or (0) is over; returns the place that it interrupted. */
int gr_callback(gr_session *own, int place)
{
	int before, i;

	pthread_mutex_lock(&own->lock);
	before = gr_place(own);
	for (i = 0; i < 2; i++)
		if (before ? own->callbacks[i].place &&
				     pthread_equal(own->callbacks[i].thread, pthread_self())
			   : !own->callbacks[i].place) {
			own->callbacks[i].thread = pthread_self();
			own->callbacks[i].place = place;
			break;
		}
	pthread_mutex_unlock(&own->lock);
	return before;
}

/* -- tickets and hooks -------------------------------------------------------------------- */

static int gr_py_hook(gnutls_session_t, unsigned int, unsigned int, unsigned int,
		      const gnutls_datum_t *);
static int gr_py_post_client_hello(gnutls_session_t);
static int gr_py_db_store(void *, gnutls_datum_t, gnutls_datum_t);
static gnutls_datum_t gr_py_db_retrieve(void *, gnutls_datum_t);
static int gr_py_db_remove(void *, gnutls_datum_t);

static void gr_note_ticket(gr_session *session, const gnutls_datum_t *message)
{
	const unsigned char *bytes = message->data;

	/* A server that changed its mind sends an empty ticket (RFC 5077 §3.3): six bytes. */
	if (message->size <= 6)
		return;
	session->ticket_lifetime = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
				   (uint32_t)bytes[2] << 8 | bytes[3];
	session->ticket_arrival = (int64_t)time(NULL);
	session->tickets++;
}

static int gr_note_client_hello(gr_session *own, const gnutls_datum_t *message)
{
	const gr_client_hello before = own->hello;

	gr_parse_client_hello(message->data, message->size, &own->hello);
	/* Who chose a host's settings by the first name must not find himself with a second one,
	 * which may only follow a HelloRetryRequest and be the same (RFC 8446 §4.1.2). */
	if (before.seen && strcmp(before.name, own->hello.name) != 0)
		return GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER;
	return 0;
}

/* Of a session that was found and then not resumed (it has expired, or the client does not bind its
 * master secret, or lies about the ticket's age) GnuTLS keeps the peer's certificate, and would tell
 * it of a client that shows none, and seal it into his tickets: a session ID or a ticket, which
 * anybody can see on the wire, would be enough to be somebody else. What is no session makes it
 * forget: it is refused only after that. */
static int gr_forget_peer(gnutls_session_t session)
{
	static const unsigned char no_session[8];
	unsigned int certificates = 0;

	if (gnutls_session_is_resumed(session))
		return 0;
	gnutls_session_set_data(session, no_session, sizeof(no_session));
	gnutls_certificate_get_peers(session, &certificates);
	return certificates ? GNUTLS_E_INTERNAL_ERROR : 0;
}

static int gr_hook(gnutls_session_t session, unsigned int type, unsigned int when,
		   unsigned int incoming, const gnutls_datum_t *message)
{
	gr_session *own = gnutls_session_get_ptr(session);
	uint32_t wanted = when == GNUTLS_HOOK_PRE ? own->before : own->after;

	/* The lifetime is the message's first field in TLS 1.2 (RFC 5077 §3.3) and 1.3
	 * (RFC 8446 §4.6.1); after the message has been read it is gone. */
	if (type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET && incoming && when == GNUTLS_HOOK_PRE)
		gr_note_ticket(own, message);
	/* In the format of SSL 2.0 (RFC 5246 appendix E.2): without extensions, and no hook of a
	 * ClientHello's would see it, so a host's settings would never be chosen. */
	if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO_V2 && incoming)
		return GNUTLS_E_UNSUPPORTED_VERSION_PACKET;
	if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO && incoming && when == GNUTLS_HOOK_PRE) {
		int code = gr_note_client_hello(own, message);

		if (code < 0)
			return code;
	}
	/* The last moment before the client may show a certificate, after the last ClientHello. */
	if (type == GNUTLS_HANDSHAKE_SERVER_HELLO && !incoming && when == GNUTLS_HOOK_PRE) {
		int code = gr_forget_peer(session);

		if (code < 0)
			return code;
	}
	if (type < 32 && wanted >> type & 1)
		return gr_py_hook(session, type, when, incoming, message);
	return 0;
}

/* One slot a session: all messages come here. */
void gr_set_hook(gr_session *own)
{
	gnutls_handshake_set_hook_function(own->c, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, gr_hook);
}

static int gr_post_client_hello(gnutls_session_t session)
{
	gr_session *own = gnutls_session_get_ptr(session);
	int code = 0;

	/* First Python, which may still change what the ticket key depends on. */
	own->reprioritized = 0;
	if (own->python_hello)
		code = gr_py_post_client_hello(session);
	if (code >= 0)
		gr_enable_tickets(session, &own->derived, &own->hello, own->cache_expiration,
				  !own->reprioritized);
	return code;
}

void gr_set_post_client_hello(gr_session *own)
{
	own->python_hello = 1;
	gnutls_handshake_set_post_client_hello_function(own->c, gr_post_client_hello);
}

void gr_ticket_derive(gr_session *own, gr_ticket_table *table, const unsigned char *policy)
{
	own->derived.table = table;
	memcpy(own->derived.policy, policy, GR_POLICY_SIZE);
	gnutls_handshake_set_post_client_hello_function(own->c, gr_post_client_hello);
}

/* For a session ID. A ticket that is known comes first, and spares the question. */
static gnutls_datum_t gr_db_retrieve(void *pointer, gnutls_datum_t key)
{
	const gr_session *own = pointer;
	const gnutls_datum_t nothing = { NULL, 0 };

	if (gr_ticket_is_known(own->c, &own->derived, &own->hello, own->cache_expiration))
		return nothing;
	return gr_py_db_retrieve(pointer, key);
}

void gr_db_set_functions(gr_session *own)
{
	gnutls_db_set_ptr(own->c, own);
	gnutls_db_set_store_function(own->c, gr_py_db_store);
	gnutls_db_set_retrieve_function(own->c, gr_db_retrieve);
	gnutls_db_set_remove_function(own->c, gr_py_db_remove);
}

/* A server makes and uses ticket keys in these two, and where it began early in gr_record_recv:
 * nothing of them may stay on the stack of a thread that does something else for hours. */
int gr_handshake(gnutls_session_t session)
{
	int code = gnutls_handshake(session);

	if (((gr_session *)gnutls_session_get_ptr(session))->role == GR_SERVER)
		gr_wipe_stack();
	return code;
}

int gr_ticket_send(gnutls_session_t session, unsigned int count, unsigned int flags)
{
	int code = gnutls_session_ticket_send(session, count, flags);

	gr_wipe_stack();
	return code;
}

int gr_ticket_offered(const gr_session *own)
{
	if (!own->hello.offers_ticket && !own->hello.offers_psk)
		return GR_OFFERED_NONE;
	return own->derived.known ? GR_OFFERED_KNOWN_KEY : GR_OFFERED_UNKNOWN_KEY;
}

unsigned int gr_ticket_failures(const gr_session *own)
{
	return own->derived.failures;
}

const char *gr_client_hello_name(const gr_session *own)
{
	return own->hello.name;
}

void gr_deinit(gr_session *own)
{
	own->state = GR_CLOSED;
	gnutls_deinit(own->c);
}

/* What every session begins with, in one call. */
int gr_init(gr_session *own, unsigned int flags, gnutls_priority_t priority,
	    gnutls_certificate_credentials_t credentials)
{
	int code = gnutls_init(&own->c, flags);

	if (code < 0)
		return code;
	pthread_mutex_init(&own->lock, NULL);
	own->state = GR_NEW;
	own->role = flags & GNUTLS_SERVER ? GR_SERVER : GR_CLIENT;
	gnutls_session_set_ptr(own->c, own);
	gr_set_hook(own);
	code = gnutls_priority_set(own->c, priority);
	if (code >= 0)
		code = gnutls_credentials_set(own->c, GNUTLS_CRD_CERTIFICATE, credentials);
	if (code < 0)
		gr_deinit(own);
	return code;
}

/* -- memory ------------------------------------------------------------------------------- */

/* The library's allocator: what a retrieve callback returns is freed with it. */
void *gr_malloc(size_t size)
{
	return gnutls_malloc(size);
}

void gr_free(void *pointer)
{
	gnutls_free(pointer);
}

/* GnuTLS does not wipe packed sessions when it frees them. */
void gr_wipe_free(void *pointer, size_t size)
{
	if (pointer == NULL)
		return;
	gnutls_memset(pointer, 0, size);
	gnutls_free(pointer);
}

/* The C side of a Session: its start, the handshake hook, and the memory of secrets.
 *
 * The hook notes when a session ticket arrives and for how long it is valid: no other function
 * of the library tells. Python is called for the messages it asked for, and for no others, since
 * a call costs more than the rest of a small message.
 */

typedef struct {
	gnutls_session_t c;
	void *handle;		/* of the Python object that answers the callbacks */
	uint32_t before, after; /* message types, a bit each, for which Python is called */
	unsigned int tickets;	/* received */
	uint32_t ticket_lifetime; /* seconds, of the last one */
	int64_t ticket_arrival;	/* Unix seconds */
	int state, role;	/* bits of a rule, below */
	int callback;		/* 0, GR_IN_HELLO or GR_IN_CALLBACK */
	pthread_t thread;	/* that runs the callback */
	atomic_int turns;	/* GR_READ, GR_WRITE: taken by some thread */
} gr_session;

/* -- who may use a session, and when (see _rule.py) --------------------------------------- */

#define GR_LOOK 0 /* a turn: with the reader, or with the writer */
/* GR_READ 1, GR_WRITE 2, GR_READ | GR_WRITE: alone */
#define GR_NEW 4 /* states */
#define GR_STARTED 8
#define GR_DONE 16
#define GR_CLOSED 32
#define GR_CLIENT 64 /* roles */
#define GR_SERVER 128
#define GR_IN_HELLO 256 /* callbacks */
#define GR_IN_CALLBACK 512

#define GR_BUSY (-1)
#define GR_WRONG_STATE (-2)
#define GR_WRONG_ROLE (-3)
#define GR_WRONG_PLACE (-4)

static int gr_take(gr_session *own, int turns)
{
	int taken = atomic_load(&own->turns);

	do {
		if (taken & turns)
			return 0;
	} while (!atomic_compare_exchange_weak(&own->turns, &taken, taken | turns));
	return turns;
}

/* Take what the rule's turn needs, and return it for gr_leave; or say why not. Nothing waits. */
int gr_enter(gr_session *own, int rule)
{
	int turns = rule & (GR_READ | GR_WRITE);
	int refusal = 0;

	if (own->callback && pthread_equal(own->thread, pthread_self())) {
		/* The thread has the session already, and goes on with it later. */
		if (turns && !(rule & own->callback & GR_IN_HELLO))
			return GR_WRONG_PLACE;
		return rule & own->role ? 0 : GR_WRONG_ROLE;
	}
	if (turns)
		turns = gr_take(own, turns);
	else if (!(turns = gr_take(own, GR_WRITE)))
		turns = gr_take(own, GR_READ);
	if (!turns)
		return GR_BUSY;
	if (!(rule & own->state))
		refusal = GR_WRONG_STATE;
	else if (!(rule & own->role))
		refusal = GR_WRONG_ROLE;
	if (refusal)
		atomic_fetch_and(&own->turns, ~turns);
	return refusal ? refusal : turns;
}

void gr_leave(gr_session *own, int turns)
{
	atomic_fetch_and(&own->turns, ~turns);
}

/* A callback begins, or (0) is over; returns what it interrupted. */
int gr_callback(gr_session *own, int callback)
{
	int before = own->callback;

	own->thread = pthread_self();
	own->callback = callback;
	return before;
}

/* -- tickets and hooks -------------------------------------------------------------------- */

static int gr_py_hook(gnutls_session_t, unsigned int, unsigned int, unsigned int,
		      const gnutls_datum_t *);

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

static int gr_hook(gnutls_session_t session, unsigned int type, unsigned int when,
		   unsigned int incoming, const gnutls_datum_t *message)
{
	gr_session *own = gnutls_session_get_ptr(session);
	uint32_t wanted = when == GNUTLS_HOOK_PRE ? own->before : own->after;

	/* The lifetime is the message's first field in TLS 1.2 (RFC 5077 §3.3) and 1.3
	 * (RFC 8446 §4.6.1); after the message has been read it is gone. */
	if (type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET && incoming && when == GNUTLS_HOOK_PRE)
		gr_note_ticket(own, message);
	if (type < 32 && wanted >> type & 1)
		return gr_py_hook(session, type, when, incoming, message);
	return 0;
}

/* One slot a session: all messages come here. */
void gr_set_hook(gr_session *own)
{
	gnutls_handshake_set_hook_function(own->c, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, gr_hook);
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
	own->state = GR_NEW;
	own->role = flags & GNUTLS_SERVER ? GR_SERVER : GR_CLIENT;
	gnutls_session_set_ptr(own->c, own);
	if (flags & GNUTLS_CLIENT)
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

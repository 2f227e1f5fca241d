/* The handshake hook and the memory of secrets, in C.
 *
 * The hook notes when a session ticket arrives and for how long it is valid: no other function
 * of the library tells. Python is called for the messages it asked for, and for no others, since
 * a call costs more than the rest of a small message.
 */

typedef struct {
	void *handle;		/* of the Python object that answers the callbacks */
	uint32_t before, after; /* message types, a bit each, for which Python is called */
	unsigned int tickets;	/* received */
	uint32_t ticket_lifetime; /* seconds, of the last one */
	int64_t ticket_arrival;	/* Unix seconds */
} gr_session;

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
void gr_set_hook(gnutls_session_t session)
{
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, gr_hook);
}

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

/* Many records a call: what a call from Python costs would be most of the cost of a record. */

#define GR_BATCH 65536 /* bytes of data that are encrypted before they are sent */

/* Send data; progress[0] is how many bytes have left, progress[1] how many after these are
 * encrypted and still waiting: at the next call the data must begin with them. Returns 0 when
 * all have left, GnuTLS's error, or errno as gr_flush does. */
int gr_record_send(gnutls_session_t session, const char *data, size_t size, size_t progress[2])
{
	gr_transport *transport = gnutls_transport_get_ptr(session);
	size_t *sent = &progress[0], *waiting = &progress[1];
	/* Where nobody waits, what cannot leave must be given again: as little as possible. */
	size_t batch = transport->writing.deadline == 0 && !transport->memory ? 1 : GR_BATCH;

	for (;;) {
		int error;

		while (*waiting < batch && *sent + *waiting < size) {
			size_t start = *sent + *waiting;
			ssize_t n = gnutls_record_send(session, data + start, size - start);

			if (n < 0)
				return (int)n;
			*waiting += (size_t)n;
			if (transport->send_error)
				return transport->send_error;
		}
		error = gr_flush(transport, GR_WRITE, 1);
		if (error)
			return error;
		*sent += *waiting;
		*waiting = 0;
		if (*sent == size)
			return 0;
	}
}

/* Receive one record, and after a full one those that are there already. */
ssize_t gr_record_recv(gnutls_session_t session, char *data, size_t size)
{
	gr_transport *transport = gnutls_transport_get_ptr(session);
	int64_t deadline = transport->reading.deadline;
	size_t full = gnutls_record_get_max_size(session);
	ssize_t n = transport->put_off;
	size_t total;

	transport->put_off = 0;
	if (n < 0) {
		transport->reading.error = transport->put_off_error;
		transport->reading.ended = transport->put_off_ended;
		return n;
	}
	n = gnutls_record_recv(session, data, size);
	/* A server that began early completes the handshake here, and sends its tickets. */
	if (gnutls_session_get_flags(session) & GNUTLS_SFLAGS_EARLY_START)
		gr_wipe_stack();
	if (n < 0)
		return n;
	total = (size_t)n;
	transport->reading.deadline = 0;
	while (n > 0 && (size_t)n >= full && total < size) {
		n = gnutls_record_recv(session, data + total, size - total);
		if (n > 0)
			total += (size_t)n;
		else if (n < 0 && n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED) {
			transport->put_off = (int)n; /* the next call's answer */
			transport->put_off_error = transport->reading.error;
			transport->put_off_ended = transport->reading.ended;
		}
	}
	transport->reading.deadline = deadline;
	transport->reading.blocked = 0; /* that was no answer; memory has no gr_begin */
	return (ssize_t)total;
}

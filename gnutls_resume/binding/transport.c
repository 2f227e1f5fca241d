/* The two transports: a socket's descriptor, and memory. They stand in one file, a little over
 * the usual size, because they share the buffers, the lock and the rules:
 *
 * - push only appends to `out`: a flight leaves in one piece, when a pull would block and
 *   before every return to Python (gr_flush). GnuTLS never sees a send fail, nor EAGAIN.
 * - The descriptor and the deadline belong to one operation, which begins with gr_begin, and the
 *   descriptor is asked for again after each wait: a number used again after close() would
 *   otherwise get our records.
 * - After the handshake one thread may read while another writes, so each direction has its
 *   own operation; the lock guards the buffers, and is never held while waiting.
 * - Nothing here touches Python: cffi has released the GIL.
 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#ifndef MSG_NOSIGNAL /* macOS; Python ignores SIGPIPE */
#define MSG_NOSIGNAL 0
#endif

#define GR_READ 1
#define GR_WRITE 2
#define GR_DEADLINE (-1) /* beside errno, whose ETIMEDOUT the kernel may give too */
#define GR_HEADER 5
#define GR_LAST_WORDS 1000000000 /* nanoseconds for the peer's alert after a failed send */

typedef struct {
	unsigned char *data;
	size_t start, end, capacity; /* the bytes from start to end are waiting */
} gr_buffer;

typedef struct {
	int fd;
	int64_t deadline; /* CLOCK_MONOTONIC nanoseconds; -1 never, 0 do not wait */
	int alone;	  /* it both reads and writes */
	int error;	  /* errno of the failure */
	int blocked;	  /* EAGAIN, GR_DEADLINE: the transport, not GnuTLS, said EAGAIN */
	int ended;	  /* the peer has closed its side */
	int moved;	  /* something was read */
} gr_operation;

typedef struct {
	int memory;
	atomic_int eof;
	atomic_int send_error; /* errno of a send that failed: nothing more can be written */
	int hurry;	   /* the next flush must not wait for an acknowledgement */
	int put_off;	   /* an error found after data that had to be returned first */
	int put_off_error, put_off_ended; /* what the transport said of it */
	pthread_mutex_t lock;
	gr_buffer in;	   /* memory only */
	gr_buffer out;
	gr_operation reading, writing;
	uint64_t received, sent; /* bytes */
	unsigned char header[GR_HEADER]; /* of the record that is being read */
	size_t header_size, body_left;
} gr_transport;

/* -- buffers ------------------------------------------------------------------------------ */

static size_t gr_length(const gr_buffer *buffer)
{
	return buffer->end - buffer->start;
}

static int gr_append(gr_buffer *buffer, const void *data, size_t size)
{
	if (size > buffer->capacity - buffer->end) {
		size_t waiting = gr_length(buffer);
		size_t capacity = buffer->capacity ? buffer->capacity : 4096;
		unsigned char *grown;

		if (size > SIZE_MAX / 2 - waiting)
			return -1;
		while (capacity / 2 < waiting + size) /* half of it stays free for more */
			capacity *= 2;
		grown = malloc(capacity);
		if (grown == NULL)
			return -1;
		if (waiting > 0)
			memcpy(grown, buffer->data + buffer->start, waiting);
		free(buffer->data);
		buffer->data = grown;
		buffer->start = 0;
		buffer->end = waiting;
		buffer->capacity = capacity;
	}
	memcpy(buffer->data + buffer->end, data, size);
	buffer->end += size;
	return 0;
}

/* Go on after n bytes. An idle connection needs no memory for what has passed. */
static void gr_skip(gr_buffer *buffer, size_t n)
{
	buffer->start += n;
	if (buffer->start == buffer->end) {
		free(buffer->data);
		memset(buffer, 0, sizeof(*buffer));
	}
}

static size_t gr_consume(gr_buffer *buffer, void *data, size_t size)
{
	size_t n = gr_length(buffer);

	if (n > size)
		n = size;
	if (n == 0)
		return 0;
	memcpy(data, buffer->data + buffer->start, n);
	gr_skip(buffer, n);
	return n;
}

/* -- waiting ------------------------------------------------------------------------------ */

static int64_t gr_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns 0 when the descriptor is ready, else errno: EAGAIN where the operation does not wait,
 * GR_DEADLINE at its deadline, EINTR for a signal that Python must serve. */
static int gr_wait(const gr_operation *operation, short events)
{
	struct pollfd ready = { operation->fd, events, 0 };
	int milliseconds = -1;
	int n;

	if (operation->deadline == 0)
		return EAGAIN;
	if (operation->deadline > 0) {
		int64_t left = operation->deadline - gr_now();

		if (left <= 0)
			return GR_DEADLINE;
		milliseconds = left / 1000000 >= INT32_MAX ? INT32_MAX : (int)(left / 1000000 + 1);
	}
	n = poll(&ready, 1, milliseconds);
	if (n < 0)
		return errno;
	return n == 0 ? GR_DEADLINE : 0;
}

/* -- sending ------------------------------------------------------------------------------ */

/* Whose Finished or ticket was the last message of a handshake may send data at once: Nagle's
 * algorithm would hold them until the other side's delayed acknowledgement (some 40 ms). Returns
 * whether the option was changed, and so has to be put back. */
static int gr_nodelay(int fd, int on)
{
	int before = 1;
	socklen_t size = sizeof(before);

	if (on && (getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &before, &size) != 0 || before))
		return 0;
	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0;
}

/* One attempt; returns 0 when nothing is left, else errno. */
static int gr_send_some(gr_transport *transport, int fd)
{
	int error = 0;

	pthread_mutex_lock(&transport->lock);
	while (error == 0 && gr_length(&transport->out) > 0) {
		ssize_t n = send(fd, transport->out.data + transport->out.start,
				 gr_length(&transport->out), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0) {
			gr_skip(&transport->out, (size_t)n);
			transport->sent += (uint64_t)n;
		} else if (errno == EWOULDBLOCK) {
			error = EAGAIN;
		} else if (errno != EINTR) {
			error = transport->send_error = errno;
			gr_skip(&transport->out, gr_length(&transport->out));
		}
	}
	pthread_mutex_unlock(&transport->lock);
	return error;
}

static gr_operation *gr_side(gr_transport *transport, int direction)
{
	return direction & GR_WRITE ? &transport->writing : &transport->reading;
}

size_t gr_pending(gr_transport *transport)
{
	size_t n;

	pthread_mutex_lock(&transport->lock);
	n = gr_length(&transport->out);
	pthread_mutex_unlock(&transport->lock);
	return n;
}

/* Send what has been pushed, waiting until the operation's deadline if `wait`. Returns 0 when
 * nothing is left, else errno; EINTR after a wait: call again, with the descriptor of then. */
int gr_flush(gr_transport *transport, int direction, int wait)
{
	gr_operation *operation = gr_side(transport, direction);
	int error, hurry;

	if (transport->memory)
		return 0;
	if (transport->send_error)
		return transport->send_error;
	hurry = transport->hurry && gr_pending(transport) > 0;
	if (hurry) {
		transport->hurry = 0;
		hurry = gr_nodelay(operation->fd, 1);
	}
	error = gr_send_some(transport, operation->fd);
	if (hurry)
		gr_nodelay(operation->fd, 0);
	if (error == EAGAIN && wait) {
		error = gr_wait(operation, POLLOUT);
		if (error == 0)
			error = EINTR; /* the descriptor has to be asked for again */
	}
	return error;
}

/* The handshake is over: see gr_nodelay. A server's last act was to receive, so nothing of its
 * own carries the acknowledgement, and until that comes Nagle's algorithm holds the first data
 * of a client that has not turned it off. */
void gr_hurry(gr_transport *transport, int server)
{
	transport->hurry = 1;
#ifdef TCP_QUICKACK
	if (server && !transport->memory) {
		int on = 1;

		setsockopt(transport->writing.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
	}
#endif
}

static ssize_t gr_push(gnutls_transport_ptr_t pointer, const void *data, size_t size)
{
	gr_transport *transport = pointer;
	int failed;

	pthread_mutex_lock(&transport->lock);
	failed = transport->send_error ? 0 : gr_append(&transport->out, data, size);
	if (!failed && transport->memory)
		transport->sent += size;
	pthread_mutex_unlock(&transport->lock);
	return failed ? -1 : (ssize_t)size;
}

/* -- receiving ---------------------------------------------------------------------------- */

/* Follow the records, to know where one ends. */
static void gr_follow(gr_transport *transport, const unsigned char *data, size_t size)
{
	while (size > 0) {
		size_t n;

		if (transport->body_left > 0) {
			n = size < transport->body_left ? size : transport->body_left;
			transport->body_left -= n;
			if (transport->body_left == 0)
				transport->header_size = 0;
		} else {
			n = 1;
			transport->header[transport->header_size++] = *data;
			if (transport->header_size == GR_HEADER) {
				transport->body_left = (size_t)transport->header[3] << 8 |
						       transport->header[4];
				if (transport->body_left == 0)
					transport->header_size = 0;
			}
		}
		data += n;
		size -= n;
	}
}

static ssize_t gr_pull_memory(gr_transport *transport, void *data, size_t size)
{
	ssize_t n;

	pthread_mutex_lock(&transport->lock);
	n = (ssize_t)gr_consume(&transport->in, data, size);
	if (n == 0 && !transport->eof) {
		transport->reading.blocked = EAGAIN;
		errno = EAGAIN;
		n = -1;
	}
	pthread_mutex_unlock(&transport->lock);
	return n;
}

static ssize_t gr_pull_socket(gr_transport *transport, void *data, size_t size)
{
	gr_operation *operation = &transport->reading;
	gr_operation patience = *operation;
	short events = POLLIN;
	ssize_t n;
	int error;

	/* A peer that always has something to read must not put off the deadline. */
	if (operation->moved && operation->deadline > 0 && gr_now() >= operation->deadline) {
		error = GR_DEADLINE;
	} else {
		n = recv(operation->fd, data, size, MSG_DONTWAIT);
		if (n >= 0)
			return n;
		error = errno;
	}
	if (error == EAGAIN || error == EWOULDBLOCK) {
		if (!transport->send_error && gr_send_some(transport, operation->fd) == EAGAIN)
			events |= POLLOUT;
		/* A failed send is no reason to stop reading, the peer's alert may wait; but a
		 * handshake will get nothing more. */
		if (transport->send_error && operation->alone && operation->deadline != 0) {
			patience.deadline = gr_now() + GR_LAST_WORDS;
			if (operation->deadline > 0 && operation->deadline < patience.deadline)
				patience.deadline = operation->deadline;
		}
		error = gr_wait(&patience, events);
		if (error == GR_DEADLINE && patience.deadline != operation->deadline)
			error = transport->send_error;
		if (error == 0)
			error = EINTR; /* the descriptor has to be asked for again */
	}
	if (error == EAGAIN || error == GR_DEADLINE)
		operation->blocked = error;
	else if (error != EINTR)
		operation->error = error;
	errno = error == GR_DEADLINE ? EAGAIN : error;
	return -1;
}

static ssize_t gr_pull(gnutls_transport_ptr_t pointer, void *data, size_t size)
{
	gr_transport *transport = pointer;
	ssize_t n = transport->memory ? gr_pull_memory(transport, data, size)
				      : gr_pull_socket(transport, data, size);

	if (n > 0) {
		transport->reading.moved = 1;
		transport->received += (uint64_t)n;
		gr_follow(transport, data, (size_t)n);
	} else if (n == 0) {
		transport->reading.ended = 1;
	}
	return n;
}

/* Whether a whole record can be read without waiting. */
static int gr_whole_record(gr_transport *transport)
{
	unsigned char header[5];
	size_t waiting = 0;

	if (transport->memory) {
		pthread_mutex_lock(&transport->lock);
		waiting = gr_length(&transport->in);
		if (waiting >= sizeof(header))
			memcpy(header, transport->in.data + transport->in.start, sizeof(header));
		pthread_mutex_unlock(&transport->lock);
	} else if (recv(transport->reading.fd, header, sizeof(header), MSG_PEEK | MSG_DONTWAIT) ==
		   sizeof(header)) {
		int bytes = 0;

		if (ioctl(transport->reading.fd, FIONREAD, &bytes) == 0 && bytes > 0)
			waiting = (size_t)bytes;
	}
	return waiting >= sizeof(header) &&
	       waiting - sizeof(header) >= ((size_t)header[3] << 8 | header[4]);
}

/* Wait for a whole record, where the operation waits at all: gnutls_session_get_data2 reads one
 * for a ticket, and drops what it has read of one that is not complete in time. */
int gr_record_comes(gr_transport *transport, int milliseconds)
{
	const struct timespec moment = { 0, 1000000 };
	int64_t until = gr_now() + (int64_t)milliseconds * 1000000;
	int64_t deadline = transport->reading.deadline;

	if (transport->header_size > 0)
		return 0; /* a part of one was read before */
	if (!transport->memory && !transport->send_error)
		gr_send_some(transport, transport->reading.fd);
	if (transport->memory || deadline == 0)
		return gr_whole_record(transport);
	if (deadline > 0 && deadline < until)
		until = deadline;
	while (!gr_whole_record(transport)) {
		if (gr_now() >= until)
			return 0;
		nanosleep(&moment, NULL); /* poll() would not wait while there is a part */
	}
	return 1;
}

/* GnuTLS asks before it reads the header, and again before the body, but only where
 * gr_record_comes said yes. */
static int gr_pull_timeout(gnutls_transport_ptr_t pointer, unsigned int milliseconds)
{
	gr_transport *transport = pointer;

	(void)milliseconds;
	return transport->header_size > 0 || gr_whole_record(transport);
}

/* -- for Python --------------------------------------------------------------------------- */

gr_transport *gr_transport_new(int memory)
{
	gr_transport *transport = calloc(1, sizeof(*transport));

	if (transport == NULL)
		return NULL;
	transport->memory = memory;
	transport->reading.fd = transport->writing.fd = -1;
	pthread_mutex_init(&transport->lock, NULL);
	return transport;
}

void gr_transport_free(gr_transport *transport)
{
	pthread_mutex_destroy(&transport->lock);
	free(transport->in.data);
	free(transport->out.data);
	free(transport);
}

/* Own push and pull functions also keep kernel TLS off: with it, early data would leave in
 * clear and tickets could not be read. */
void gr_transport_attach(gr_transport *transport, gnutls_session_t session)
{
	gnutls_transport_set_ptr(session, transport);
	gnutls_transport_set_push_function(session, gr_push);
	gnutls_transport_set_pull_function(session, gr_pull);
	gnutls_transport_set_pull_timeout_function(session, gr_pull_timeout);
}

/* Begin an operation in the given directions; timeout in seconds, negative for none. */
void gr_begin(gr_transport *transport, int direction, int fd, double timeout)
{
	gr_operation operation = { .fd = fd, .deadline = -1, .alone = direction == (GR_READ | GR_WRITE) };

	if (timeout == 0)
		operation.deadline = 0;
	else if (timeout > 0 && timeout < 1e9)
		operation.deadline = gr_now() + (int64_t)(timeout * 1e9);
	if (direction & GR_READ)
		transport->reading = operation;
	if (direction & GR_WRITE)
		transport->writing = operation;
}

/* Go on with an operation after a wait, with the descriptor of now. */
void gr_renew(gr_transport *transport, int direction, int fd)
{
	if (direction & GR_READ)
		transport->reading.fd = fd;
	if (direction & GR_WRITE)
		transport->writing.fd = fd;
}

/* Why the pull of this operation said EAGAIN: 0 it did not (GnuTLS itself did), EAGAIN,
 * GR_DEADLINE. Read once: the next pull starts afresh. */
int gr_blocked(gr_transport *transport)
{
	int blocked = transport->reading.blocked;

	transport->reading.blocked = 0;
	return blocked;
}

int gr_read_error(gr_transport *transport)
{
	return transport->reading.error;
}

int gr_ended(gr_transport *transport)
{
	return transport->reading.ended;
}

int gr_feed(gr_transport *transport, const void *data, size_t size)
{
	int failed;

	pthread_mutex_lock(&transport->lock);
	failed = gr_append(&transport->in, data, size);
	pthread_mutex_unlock(&transport->lock);
	return failed;
}

size_t gr_drain(gr_transport *transport, void *data, size_t size)
{
	size_t n;

	pthread_mutex_lock(&transport->lock);
	n = gr_consume(&transport->out, data, size);
	pthread_mutex_unlock(&transport->lock);
	return n;
}

/* Take back what was fed and not read. */
size_t gr_unread(gr_transport *transport, void *data, size_t size)
{
	size_t n;

	pthread_mutex_lock(&transport->lock);
	n = data == NULL ? gr_length(&transport->in) : gr_consume(&transport->in, data, size);
	pthread_mutex_unlock(&transport->lock);
	return n;
}

void gr_eof(gr_transport *transport)
{
	transport->eof = 1;
}

/* Of the last record that came, or what stood in its place. */
const unsigned char *gr_header(const gr_transport *transport)
{
	return transport->header;
}

uint64_t gr_received(const gr_transport *transport)
{
	return transport->received;
}

uint64_t gr_sent(const gr_transport *transport)
{
	return transport->sent;
}

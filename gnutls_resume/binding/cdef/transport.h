/* transport.c */
#define GR_READ ...
#define GR_WRITE ...
#define GR_DEADLINE ...
#define GR_HEADER ...
typedef struct { ...; } gr_transport;

gr_transport *gr_transport_new(int memory);
void gr_transport_free(gr_transport *transport);
void gr_transport_attach(gr_transport *transport, gnutls_session_t session);
void gr_begin(gr_transport *transport, int direction, int fd, double timeout);
void gr_renew(gr_transport *transport, int direction, int fd);
int gr_flush(gr_transport *transport, int direction, int wait);
void gr_hurry(gr_transport *transport, int server);
int gr_blocked(gr_transport *transport);
int gr_read_error(gr_transport *transport);
int gr_ended(gr_transport *transport);
int gr_record_comes(gr_transport *transport, int milliseconds);
int gr_feed(gr_transport *transport, const void *data, size_t size);
size_t gr_drain(gr_transport *transport, void *data, size_t size);
size_t gr_pending(gr_transport *transport);
size_t gr_unread(gr_transport *transport, void *data, size_t size);
void gr_eof(gr_transport *transport);
const unsigned char *gr_header(const gr_transport *transport);
uint64_t gr_received(const gr_transport *transport);
uint64_t gr_sent(const gr_transport *transport);

int gnutls_session_ticket_key_generate(gnutls_datum_t *key);
int gnutls_session_ticket_enable_server(gnutls_session_t session, const gnutls_datum_t *key);
int gnutls_session_ticket_enable_client(gnutls_session_t session);
/* gnutls_session_ticket_send, and nothing of the key stays on the stack; in session.c */
int gr_ticket_send(gnutls_session_t session, unsigned int count, unsigned int flags);

/* client_hello.c, through session.c */
#define GR_POLICY_SIZE ...
#define GR_TICKET_SECRET_SIZE ...
#define GR_MAX_TICKET_SECRETS ...
#define GR_OFFERED_NONE ...
#define GR_OFFERED_UNKNOWN_KEY ...
#define GR_OFFERED_KNOWN_KEY ...
typedef struct {
    unsigned int count;
    const gnutls_datum_t *secrets[...];
    ...;
} gr_ticket_table;
int gr_ratchet(const gnutls_datum_t *secret, uint64_t steps, unsigned char *later);
/* gnutls_session_ticket_enable_server, in a post-client-hello function */
void gr_ticket_derive(gr_session *own, gr_ticket_table *table, const unsigned char *policy);
int gr_ticket_offered(const gr_session *own);
unsigned int gr_ticket_failures(const gr_session *own);
const char *gr_client_hello_name(const gr_session *own);

/*
 * Handshakes on GnuTLS alone: what benchmarks/handshake.py measures the bindings against.
 *
 *   handshake CERTIFICATE-FILE KEY-FILE TRUST-FILE HOST-NAME
 *
 * Each line "KIND ROUNDS" on standard input is answered by one line with two numbers: the
 * nanoseconds that these rounds took on the clock, and those of processor time. A round makes a
 * client and a server, connects them through memory until both are done, takes the client's
 * session data and frees both, as an application does for each connection. What a server keeps
 * for all connections (credentials, priorities, the ticket key) is made once.
 */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gnutls/gnutls.h>

struct kind {
    const char *name;
    int tls13;
    int resumed;
    int by_id; /* a session database on the server instead of tickets */
};

static const struct kind kinds[] = {
    { "full-1.2", 0, 0, 0 },      { "full-1.3", 1, 0, 0 },    { "resumed-1.2", 0, 1, 0 },
    { "resumed-1.2-id", 0, 1, 1 }, { "resumed-1.3", 1, 1, 0 },
};

struct buffer {
    char *data;
    size_t start; /* bytes before it were read */
    size_t end;
    size_t capacity;
};

struct end {
    gnutls_session_t session;
    struct buffer in;
    struct buffer out;
};

/* The session database, with room for one entry. */
struct slot {
    unsigned char key[GNUTLS_MAX_SESSION_ID];
    size_t key_size;
    gnutls_datum_t data;
};

static gnutls_certificate_credentials_t client_credentials;
static gnutls_certificate_credentials_t server_credentials;
static gnutls_priority_t priority_tls12;
static gnutls_priority_t priority_tls12_no_tickets;
static gnutls_priority_t priority_tls13;
static gnutls_datum_t ticket_key;
static const char *host_name;
static struct slot slot;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "handshake: %s: %s\n", what, why);
    abort();
}

static void check(const char *what, int code)
{
    if (code < 0)
        die(what, gnutls_strerror(code));
}

/* ---- memory in place of a network ---- */

static size_t pending(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static void append(struct buffer *buffer, const void *data, size_t size)
{
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
    if (buffer->end + size > buffer->capacity) {
        buffer->capacity = 2 * (buffer->end + size);
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (buffer->data == NULL)
            die("realloc", strerror(errno));
    }
    memcpy(buffer->data + buffer->end, data, size);
    buffer->end += size;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const void *data, size_t size)
{
    struct end *end = pointer;

    append(&end->out, data, size);
    return (ssize_t)size;
}

static ssize_t pull(gnutls_transport_ptr_t pointer, void *data, size_t size)
{
    struct end *end = pointer;

    if (pending(&end->in) == 0) {
        gnutls_transport_set_errno(end->session, EAGAIN);
        return -1;
    }
    if (size > pending(&end->in))
        size = pending(&end->in);
    memcpy(data, end->in.data + end->in.start, size);
    end->in.start += size;
    return (ssize_t)size;
}

static int pull_timeout(gnutls_transport_ptr_t pointer, unsigned int milliseconds)
{
    struct end *end = pointer;

    (void)milliseconds;
    return pending(&end->in) > 0;
}

/* Whole buffers: all that one side wrote until it had to wait arrives in one piece. */
static void move(struct end *from, struct end *to)
{
    append(&to->in, from->out.data + from->out.start, pending(&from->out));
    from->out.start = from->out.end;
}

/* ---- the session database ---- */

static int store(void *pointer, gnutls_datum_t key, gnutls_datum_t data)
{
    struct slot *entry = pointer;

    if (key.size > sizeof(entry->key))
        return -1;
    memcpy(entry->key, key.data, key.size);
    entry->key_size = key.size;
    free(entry->data.data);
    entry->data.data = malloc(data.size);
    if (entry->data.data == NULL)
        die("malloc", strerror(errno));
    memcpy(entry->data.data, data.data, data.size);
    entry->data.size = data.size;
    return 0;
}

static gnutls_datum_t retrieve(void *pointer, gnutls_datum_t key)
{
    struct slot *entry = pointer;
    gnutls_datum_t found = { NULL, 0 };

    if (key.size != entry->key_size || memcmp(key.data, entry->key, key.size) != 0)
        return found;
    found.data = gnutls_malloc(entry->data.size); /* GnuTLS frees it */
    if (found.data == NULL)
        die("gnutls_malloc", strerror(errno));
    memcpy(found.data, entry->data.data, entry->data.size);
    found.size = entry->data.size;
    return found;
}

static int drop(void *pointer, gnutls_datum_t key)
{
    struct slot *entry = pointer;

    (void)key;
    entry->key_size = 0;
    return 0;
}

/* ---- one round ---- */

static void start(struct end *end, unsigned int flags, gnutls_priority_t priority,
                  gnutls_certificate_credentials_t credentials)
{
    memset(end, 0, sizeof(*end));
    check("gnutls_init", gnutls_init(&end->session, flags));
    check("gnutls_priority_set", gnutls_priority_set(end->session, priority));
    check("gnutls_credentials_set",
          gnutls_credentials_set(end->session, GNUTLS_CRD_CERTIFICATE, credentials));
    gnutls_transport_set_ptr(end->session, end);
    gnutls_transport_set_push_function(end->session, push);
    gnutls_transport_set_pull_function(end->session, pull);
    gnutls_transport_set_pull_timeout_function(end->session, pull_timeout);
}

static void start_client(struct end *client, const struct kind *kind,
                         const gnutls_datum_t *saved)
{
    gnutls_priority_t priority = priority_tls12;

    if (kind->tls13)
        priority = priority_tls13;
    else if (kind->by_id)
        priority = priority_tls12_no_tickets;
    start(client, GNUTLS_CLIENT, priority, client_credentials);
    check("gnutls_server_name_set", gnutls_server_name_set(client->session, GNUTLS_NAME_DNS,
                                                           host_name, strlen(host_name)));
    gnutls_session_set_verify_cert(client->session, host_name, 0);
    if (saved->size > 0)
        check("gnutls_session_set_data",
              gnutls_session_set_data(client->session, saved->data, saved->size));
}

static void start_server(struct end *server, const struct kind *kind)
{
    start(server, GNUTLS_SERVER, kind->tls13 ? priority_tls13 : priority_tls12,
          server_credentials);
    check("gnutls_session_ticket_enable_server",
          gnutls_session_ticket_enable_server(server->session, &ticket_key));
    if (kind->by_id) {
        gnutls_db_set_ptr(server->session, &slot);
        gnutls_db_set_store_function(server->session, store);
        gnutls_db_set_retrieve_function(server->session, retrieve);
        gnutls_db_set_remove_function(server->session, drop);
    }
}

static void stop(struct end *end)
{
    gnutls_deinit(end->session);
    free(end->in.data);
    free(end->out.data);
}

static void shake_hands(struct end *client, struct end *server)
{
    int client_code = GNUTLS_E_AGAIN;
    int server_code = GNUTLS_E_AGAIN;

    while (client_code == GNUTLS_E_AGAIN || server_code == GNUTLS_E_AGAIN) {
        if (client_code == GNUTLS_E_AGAIN)
            client_code = gnutls_handshake(client->session);
        if (client_code != GNUTLS_E_AGAIN)
            check("client's gnutls_handshake", client_code);
        move(client, server);
        if (server_code == GNUTLS_E_AGAIN)
            server_code = gnutls_handshake(server->session);
        if (server_code != GNUTLS_E_AGAIN)
            check("server's gnutls_handshake", server_code);
        move(server, client);
        if (client_code == GNUTLS_E_AGAIN && pending(&client->in) == 0)
            die("gnutls_handshake", "both sides wait");
    }
}

/* GNUTLS_E_AGAIN also says that a ticket was read, so the buffer tells when all were. */
static void read_tickets(struct end *client)
{
    char byte;

    while (pending(&client->in) > 0) {
        ssize_t code = gnutls_record_recv(client->session, &byte, 1);

        if (code != GNUTLS_E_AGAIN)
            die("gnutls_record_recv", "something other than a ticket");
    }
}

/* Offers the saved session, if there is one, and puts this connection's in its place. */
static void run_round(const struct kind *kind, gnutls_datum_t *saved)
{
    struct end client;
    struct end server;
    int expected = saved->size > 0;
    gnutls_datum_t taken;

    start_client(&client, kind, saved);
    start_server(&server, kind);
    shake_hands(&client, &server);
    if (kind->tls13)
        read_tickets(&client);
    check("gnutls_session_get_data2", gnutls_session_get_data2(client.session, &taken));
    if (taken.size <= 4) /* four zeros stand for "no ticket came" */
        die(kind->name, "no session data");
    if (!!gnutls_session_is_resumed(client.session) != expected
        || !!gnutls_session_is_resumed(server.session) != expected)
        die(kind->name, expected ? "not resumed" : "resumed");
    stop(&client);
    stop(&server);

    gnutls_free(saved->data);
    saved->data = NULL;
    saved->size = 0;
    if (kind->resumed)
        *saved = taken;
    else
        gnutls_free(taken.data);
}

/* ---- the program ---- */

static long long nanoseconds(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0)
        die("clock_gettime", strerror(errno));
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void run_batch(const struct kind *kind, long rounds)
{
    gnutls_datum_t saved = { NULL, 0 };
    long long wall;
    long long processor;

    /* A full handshake, not timed: it gives the session to resume and warms the caches. */
    run_round(kind, &saved);
    wall = nanoseconds(CLOCK_MONOTONIC);
    processor = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < rounds; i++)
        run_round(kind, &saved);
    wall = nanoseconds(CLOCK_MONOTONIC) - wall;
    processor = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
    gnutls_free(saved.data);
    printf("%lld %lld\n", wall, processor);
    fflush(stdout);
}

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    die(name, "no such kind");
    return NULL;
}

static void set_up(const char *certificate_file, const char *key_file, const char *trust_file)
{
    check("gnutls_certificate_allocate_credentials",
          gnutls_certificate_allocate_credentials(&server_credentials));
    check(certificate_file,
          gnutls_certificate_set_x509_key_file(server_credentials, certificate_file, key_file,
                                               GNUTLS_X509_FMT_PEM));
    check("gnutls_certificate_allocate_credentials",
          gnutls_certificate_allocate_credentials(&client_credentials));
    check(trust_file, gnutls_certificate_set_x509_trust_file(client_credentials, trust_file,
                                                             GNUTLS_X509_FMT_PEM));
    check("TLS 1.2",
          gnutls_priority_init(&priority_tls12, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL));
    check("TLS 1.2 without tickets",
          gnutls_priority_init(&priority_tls12_no_tickets,
                               "NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_TICKETS", NULL));
    check("TLS 1.3",
          gnutls_priority_init(&priority_tls13, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL));
    check("gnutls_session_ticket_key_generate",
          gnutls_session_ticket_key_generate(&ticket_key));
}

int main(int argc, char **argv)
{
    char line[64];
    char name[32];
    long rounds;

    if (argc != 5) {
        fprintf(stderr, "usage: handshake CERTIFICATE-FILE KEY-FILE TRUST-FILE HOST-NAME\n");
        return 2;
    }
    set_up(argv[1], argv[2], argv[3]);
    host_name = argv[4];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (sscanf(line, "%31s %ld", name, &rounds) != 2)
            die(line, "not KIND ROUNDS");
        run_batch(kind_of(name), rounds);
    }
    return 0;
}

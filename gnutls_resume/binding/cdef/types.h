typedef int... time_t;

typedef struct gnutls_session_int *gnutls_session_t;
typedef struct gnutls_certificate_credentials_st *gnutls_certificate_credentials_t;
typedef struct gnutls_priority_st *gnutls_priority_t;
typedef struct gnutls_anti_replay_st *gnutls_anti_replay_t;
typedef struct api_aead_cipher_hd_st *gnutls_aead_cipher_hd_t;
typedef struct gnutls_x509_crt_int *gnutls_x509_crt_t;
typedef void *gnutls_transport_ptr_t;

typedef struct {
    unsigned char *data;
    unsigned int size;
} gnutls_datum_t;

typedef struct {
    void *iov_base;
    size_t iov_len;
    ...;
} giovec_t;

/* session.c */
typedef struct {
    gnutls_session_t c;
    void *handle;
    uint32_t before, after;
    unsigned int tickets;
    uint32_t ticket_lifetime;
    int64_t ticket_arrival;
    int state, role;
    uint32_t cache_expiration;
    int reprioritized;
    ...;
} gr_session;

#define GR_LOOK ...
#define GR_NEW ...
#define GR_STARTED ...
#define GR_DONE ...
#define GR_CLOSED ...
#define GR_CLIENT ...
#define GR_SERVER ...
#define GR_IN_HELLO ...
#define GR_IN_CALLBACK ...
#define GR_BUSY ...
#define GR_WRONG_STATE ...
#define GR_WRONG_ROLE ...
#define GR_WRONG_PLACE ...

int gr_enter(gr_session *own, int rule, uint64_t call);
void gr_leave(gr_session *own, uint64_t call);
int gr_callback(gr_session *own, int place);

void *gr_malloc(size_t size);
void gr_free(void *pointer);
void gr_wipe_free(void *pointer, size_t size);

void gnutls_memset(void *data, int c, size_t size);
const char *gnutls_check_version(const char *req_version);

#define GNUTLS_VERSION_NUMBER ...
#define GR_HAS_CIPHERSUITE_GET ...
static const char *const GR_FINGERPRINT;

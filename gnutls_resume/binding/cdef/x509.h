void gnutls_session_set_verify_cert(gnutls_session_t session, const char *hostname,
                                    unsigned flags);
void gnutls_session_set_verify_function(gnutls_session_t session,
                                        int (*func)(gnutls_session_t));
unsigned int gnutls_session_get_verify_cert_status(gnutls_session_t session);
int gnutls_certificate_verify_peers3(gnutls_session_t session, const char *hostname,
                                     unsigned int *status);
int gnutls_certificate_verification_status_print(unsigned int status,
                                                 gnutls_certificate_type_t type,
                                                 gnutls_datum_t *out, unsigned int flags);
const gnutls_datum_t *gnutls_certificate_get_peers(gnutls_session_t session,
                                                   unsigned int *list_size);
const gnutls_datum_t *gnutls_certificate_get_ours(gnutls_session_t session);

/* certificates */
typedef struct gnutls_x509_crl_int *gnutls_x509_crl_t;
typedef struct gnutls_x509_trust_list_st *gnutls_x509_trust_list_t;
typedef struct gnutls_x509_dn_st *gnutls_x509_dn_t;
typedef struct gnutls_subject_alt_names_st *gnutls_subject_alt_names_t;
typedef struct gnutls_x509_aia_st *gnutls_x509_aia_t;
typedef struct gnutls_x509_crl_dist_points_st *gnutls_x509_crl_dist_points_t;
typedef int... gnutls_vdata_types_t;
typedef int... gnutls_pk_algorithm_t;
typedef int... gnutls_sec_param_t;

enum {
    GNUTLS_X509_FMT_DER,
    GNUTLS_SAN_DNSNAME, GNUTLS_SAN_RFC822NAME, GNUTLS_SAN_URI, GNUTLS_SAN_IPADDRESS,
    GNUTLS_SAN_OTHERNAME, GNUTLS_SAN_DN, GNUTLS_SAN_REGISTERED_ID,
    GNUTLS_DT_KEY_PURPOSE_OID,
    GNUTLS_PROFILE_MEDIUM,
    GNUTLS_VERIFY_DO_NOT_ALLOW_WILDCARDS, GNUTLS_VERIFY_DO_NOT_ALLOW_X509_V1_CA_CRT,
    ...
};
#define GNUTLS_E_SHORT_MEMORY_BUFFER ...

int gnutls_x509_crt_init(gnutls_x509_crt_t *cert);
void gnutls_x509_crt_deinit(gnutls_x509_crt_t cert);
int gnutls_x509_crt_import(gnutls_x509_crt_t cert, const gnutls_datum_t *data,
                           gnutls_x509_crt_fmt_t format);
int gnutls_x509_crt_get_version(gnutls_x509_crt_t cert);
int gnutls_x509_crt_get_serial(gnutls_x509_crt_t cert, void *result, size_t *result_size);
time_t gnutls_x509_crt_get_activation_time(gnutls_x509_crt_t cert);
time_t gnutls_x509_crt_get_expiration_time(gnutls_x509_crt_t cert);
int gnutls_x509_crt_get_pk_algorithm(gnutls_x509_crt_t cert, unsigned int *bits);
gnutls_sec_param_t gnutls_pk_bits_to_sec_param(gnutls_pk_algorithm_t algo, unsigned int bits);
unsigned int gnutls_sec_param_to_symmetric_bits(gnutls_sec_param_t param);
const char *gnutls_pk_algorithm_get_name(gnutls_pk_algorithm_t algorithm);
int gnutls_x509_crt_get_raw_dn(gnutls_x509_crt_t cert, gnutls_datum_t *start);
int gnutls_x509_crt_get_raw_issuer_dn(gnutls_x509_crt_t cert, gnutls_datum_t *start);
int gnutls_x509_crt_get_extension_by_oid2(gnutls_x509_crt_t cert, const char *oid,
                                          unsigned indx, gnutls_datum_t *output,
                                          unsigned int *critical);
unsigned gnutls_x509_crt_check_issuer(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer);
unsigned gnutls_x509_crt_check_hostname2(gnutls_x509_crt_t cert, const char *hostname,
                                         unsigned int flags);
unsigned gnutls_x509_crt_check_ip(gnutls_x509_crt_t cert, const unsigned char *ip,
                                  unsigned int ip_size, unsigned int flags);
int gnutls_x509_crt_check_revocation(gnutls_x509_crt_t cert, const gnutls_x509_crl_t *crl_list,
                                     unsigned crl_list_length);

/* names */
typedef struct {
    gnutls_datum_t oid;
    gnutls_datum_t value;
    unsigned long value_tag;
} gnutls_x509_ava_st;

int gnutls_x509_dn_init(gnutls_x509_dn_t *dn);
void gnutls_x509_dn_deinit(gnutls_x509_dn_t dn);
int gnutls_x509_dn_import(gnutls_x509_dn_t dn, const gnutls_datum_t *data);
int gnutls_x509_dn_get_rdn_ava(gnutls_x509_dn_t dn, int irdn, int iava,
                               gnutls_x509_ava_st *ava);

int gnutls_subject_alt_names_init(gnutls_subject_alt_names_t *sans);
void gnutls_subject_alt_names_deinit(gnutls_subject_alt_names_t sans);
int gnutls_subject_alt_names_get(gnutls_subject_alt_names_t sans, unsigned int seq,
                                 unsigned int *san_type, gnutls_datum_t *san,
                                 gnutls_datum_t *othername_oid);
int gnutls_x509_ext_import_subject_alt_names(const gnutls_datum_t *ext,
                                             gnutls_subject_alt_names_t sans,
                                             unsigned int flags);
int gnutls_x509_aia_init(gnutls_x509_aia_t *aia);
void gnutls_x509_aia_deinit(gnutls_x509_aia_t aia);
int gnutls_x509_aia_get(gnutls_x509_aia_t aia, unsigned int seq, gnutls_datum_t *oid,
                        unsigned *san_type, gnutls_datum_t *san);
int gnutls_x509_ext_import_aia(const gnutls_datum_t *ext, gnutls_x509_aia_t aia,
                               unsigned int flags);
int gnutls_x509_crl_dist_points_init(gnutls_x509_crl_dist_points_t *cdp);
void gnutls_x509_crl_dist_points_deinit(gnutls_x509_crl_dist_points_t cdp);
int gnutls_x509_crl_dist_points_get(gnutls_x509_crl_dist_points_t cdp, unsigned int seq,
                                    unsigned int *type, gnutls_datum_t *dist,
                                    unsigned int *reason_flags);
int gnutls_x509_ext_import_crl_dist_points(const gnutls_datum_t *ext,
                                           gnutls_x509_crl_dist_points_t dp,
                                           unsigned int flags);

/* trust */
typedef struct {
    gnutls_vdata_types_t type;
    unsigned char *data;
    unsigned int size;
} gnutls_typed_vdata_st;

int gnutls_x509_trust_list_init(gnutls_x509_trust_list_t *list, unsigned int size);
void gnutls_x509_trust_list_deinit(gnutls_x509_trust_list_t list, unsigned int all);
int gnutls_x509_trust_list_add_cas(gnutls_x509_trust_list_t list,
                                   const gnutls_x509_crt_t *clist, unsigned clist_size,
                                   unsigned int flags);
int gnutls_x509_trust_list_get_issuer(gnutls_x509_trust_list_t list, gnutls_x509_crt_t cert,
                                      gnutls_x509_crt_t *issuer, unsigned int flags);
int gnutls_x509_trust_list_verify_crt2(gnutls_x509_trust_list_t list,
                                       gnutls_x509_crt_t *cert_list,
                                       unsigned int cert_list_size,
                                       gnutls_typed_vdata_st *data, unsigned int elements,
                                       unsigned int flags, unsigned int *voutput,
                                       int (*func)(gnutls_x509_crt_t, gnutls_x509_crt_t,
                                                   gnutls_x509_crl_t, unsigned int));
int gnutls_x509_crl_init(gnutls_x509_crl_t *crl);
void gnutls_x509_crl_deinit(gnutls_x509_crl_t crl);
int gnutls_x509_crl_import(gnutls_x509_crl_t crl, const gnutls_datum_t *data,
                           gnutls_x509_crt_fmt_t format);
int gnutls_x509_crl_get_raw_issuer_dn(gnutls_x509_crl_t crl, gnutls_datum_t *dn);
int gnutls_x509_crl_verify(gnutls_x509_crl_t crl, const gnutls_x509_crt_t *CA_list,
                           unsigned CA_list_length, unsigned int flags, unsigned int *verify);
int gnutls_x509_crt_get_ca_status(gnutls_x509_crt_t cert, unsigned int *critical);

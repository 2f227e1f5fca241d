typedef int... gnutls_protocol_t;
typedef int... gnutls_credentials_type_t;
typedef int... gnutls_certificate_request_t;
typedef int... gnutls_close_request_t;
typedef int... gnutls_alert_level_t;
typedef int... gnutls_alert_description_t;
typedef int... gnutls_certificate_type_t;
typedef int... gnutls_channel_binding_t;
typedef int... gnutls_cipher_algorithm_t;
typedef int... gnutls_digest_algorithm_t;
typedef int... gnutls_mac_algorithm_t;
typedef int... gnutls_kx_algorithm_t;
typedef int... gnutls_group_t;
typedef int... gnutls_rnd_level_t;
typedef int... gnutls_server_name_type_t;
typedef int... gnutls_x509_crt_fmt_t;

enum {
    GNUTLS_SERVER, GNUTLS_CLIENT,
    GNUTLS_TLS1, GNUTLS_TLS1_1, GNUTLS_TLS1_2, GNUTLS_TLS1_3,
    GNUTLS_CRD_CERTIFICATE,
    GNUTLS_CRT_X509,
    GNUTLS_NAME_DNS,
    GNUTLS_X509_FMT_PEM,
    GNUTLS_CERT_IGNORE, GNUTLS_CERT_REQUEST, GNUTLS_CERT_REQUIRE,
    GNUTLS_SHUT_RDWR, GNUTLS_SHUT_WR,
    GNUTLS_AL_WARNING, GNUTLS_AL_FATAL,
    GNUTLS_CB_TLS_UNIQUE, GNUTLS_CB_TLS_SERVER_END_POINT, GNUTLS_CB_TLS_EXPORTER,
    GNUTLS_MAC_SHA256,
    GNUTLS_RND_NONCE, GNUTLS_RND_KEY,
    ...
};

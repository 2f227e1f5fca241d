/* What an older header lacks. Each function that came after 3.7.2 has a stand-in that is never
 * called and a flag; _ffi.py removes the name where the flag is 0. To add one: here, in
 * cdef/, and in _ffi.py's table. */

#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <gnutls/x509-ext.h>

#if GNUTLS_VERSION_NUMBER < 0x030702
#error "gnutls_resume needs GnuTLS 3.7.2 or newer"
#endif

#if GNUTLS_VERSION_NUMBER < 0x030704
#define GR_HAS_CIPHERSUITE_GET 0
static const char *gnutls_ciphersuite_get(gnutls_session_t session)
{
	(void)session;
	return NULL;
}
#else
#define GR_HAS_CIPHERSUITE_GET 1
#endif

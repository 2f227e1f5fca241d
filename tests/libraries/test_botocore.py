import botocore.config
import botocore.httpsession
import botocore.session
from libraries.peers import DATA, Server
from libraries.trial import Trial, case


class ResumingSession(botocore.httpsession.URLLib3Session):
    """For a client: `client._endpoint.http_session = ResumingSession(context)`."""

    def __init__(self, context, **options):
        self.context = context
        super().__init__(**options)

    def _get_ssl_context(self):
        return self.context


@case("botocore", "`URLLib3Session`", "a subclass whose `_get_ssl_context` returns `ctx`")
def test_botocore(trial: Trial, http: Server) -> None:
    def put() -> None:
        session = botocore.session.Session()
        session.set_credentials("key", "secret")
        # Without a trailing checksum, the body has a Content-Length.
        config = botocore.config.Config(request_checksum_calculation="when_required")
        client = session.create_client("s3", "us-east-1", endpoint_url=http.url, config=config)
        client._endpoint.http_session = ResumingSession(trial.context, verify=trial.trust)
        client.put_object(Bucket="bucket", Key="key", Body=DATA)
        assert client.get_object(Bucket="bucket", Key="key")["Body"].read() == DATA
        client.close()

    trial.check(put, http.reused)

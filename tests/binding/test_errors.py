"""The exception tree, and what a return code becomes."""

import inspect
import pickle
from typing import Any

import pytest

from gnutls_resume import errors
from gnutls_resume.binding._check import CLASSES, check, error_for, session_error_for
from gnutls_resume.binding._ffi import c_string, lib
from gnutls_resume.errors import (
    AlertError,
    FeatureMissingError,
    GnuTLSError,
    InvalidReason,
    InvalidSessionError,
    MisuseError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
)

CODES = {
    name: getattr(lib, name)
    for name in dir(lib)
    if name.startswith("GNUTLS_E_") and name != "GNUTLS_E_APPLICATION_ERROR_MIN"
}
TREE = [
    AlertError,
    FeatureMissingError,
    InvalidSessionError,
    MisuseError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
]


def test_every_error_is_exported_and_of_one_tree() -> None:
    classes = {
        name
        for name, member in vars(errors).items()
        if inspect.isclass(member) and member.__module__ == errors.__name__
    }
    assert set(errors.__all__) == classes
    others = {"GnuTLSError", "InvalidReason", "StoreError", "StoreBusyError", "StoreClosedError"}
    assert classes == {kind.__name__ for kind in TREE} | others
    for kind in TREE:
        assert kind.__bases__[0] is GnuTLSError, "one level, so that each means one thing to do"
    assert not issubclass(GnuTLSError, OSError)


def test_missing_feature_is_not_implemented() -> None:
    assert issubclass(FeatureMissingError, NotImplementedError)
    assert [kind for kind in TREE if issubclass(kind, NotImplementedError)] == [FeatureMissingError]


@pytest.mark.parametrize("kind", [GnuTLSError, *TREE])
def test_error_of_the_library_itself_has_no_code(kind: Any) -> None:
    argument = InvalidReason.DAMAGED if kind is InvalidSessionError else "the sentence"
    error = kind(argument)
    assert (error.code, error.name, error.fatal) == (0, "", False)
    if kind is not InvalidSessionError:
        assert error.text == str(error) == "the sentence"
        assert kind().text == str(kind()) == ""


@pytest.mark.parametrize("name", CODES)
def test_every_declared_code_becomes_an_error(name: str) -> None:
    code = CODES[name]
    assert code < 0
    error = error_for(code)
    assert error.code == code
    assert error.name == name
    assert error.fatal is bool(lib.gnutls_error_is_fatal(code))
    assert error.text
    assert str(error).startswith(f"{error.text} [{name}, {code}]")
    if not isinstance(error, InvalidSessionError):
        assert error.text == c_string(lib.gnutls_strerror(code))
    with pytest.raises(type(error)) as caught:
        check(code)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AGAIN", WantReadError),
        ("FATAL_ALERT_RECEIVED", AlertError),
        ("PREMATURE_TERMINATION", PrematureTerminationError),
        ("CERTIFICATE_VERIFICATION_ERROR", VerificationError),
    ],
)
def test_code_that_calls_for_another_reaction_has_a_class(
    name: str, kind: type[GnuTLSError]
) -> None:
    assert type(error_for(CODES[f"GNUTLS_E_{name}"])) is kind


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("INVALID_SESSION", InvalidReason.NOT_RESUMABLE),
        ("DB_ERROR", InvalidReason.OTHER_VERSION),
        ("EXPIRED", InvalidReason.EXPIRED),
    ],
)
def test_code_about_a_stored_session_has_a_reason(name: str, reason: InvalidReason) -> None:
    error = session_error_for(CODES[f"GNUTLS_E_{name}"])
    assert isinstance(error, InvalidSessionError)
    assert error.reason is reason
    assert error.name == f"GNUTLS_E_{name}"


def test_all_other_codes_are_plain() -> None:
    for code in set(CODES.values()) - CLASSES.keys():
        assert type(error_for(code)) is GnuTLSError


def test_code_that_the_library_does_not_know_is_an_error_too() -> None:
    error = error_for(-9999)
    assert type(error) is GnuTLSError
    assert error.code == -9999
    assert error.text
    assert str(error)


@pytest.mark.parametrize("code", [0, 1, 16_384])
def test_code_that_is_not_negative_is_returned(code: int) -> None:
    assert check(code) == code


def test_fatal_and_other_codes_are_told_apart() -> None:
    assert error_for(CODES["GNUTLS_E_FATAL_ALERT_RECEIVED"]).fatal
    assert not error_for(CODES["GNUTLS_E_AGAIN"]).fatal
    assert not error_for(CODES["GNUTLS_E_WARNING_ALERT_RECEIVED"]).fatal


def test_errors_do_not_share_what_they_say() -> None:
    error_for(CODES["GNUTLS_E_FATAL_ALERT_RECEIVED"])
    assert (GnuTLSError.code, GnuTLSError.name, AlertError.code) == (0, "", 0)


@pytest.mark.parametrize("reason", InvalidReason)
def test_invalid_session_says_why(reason: InvalidReason) -> None:
    error = InvalidSessionError(reason)
    assert error.reason is reason
    assert str(error) == f"the session cannot be resumed: {reason.value}"
    again = pickle.loads(pickle.dumps(reason))  # noqa: S301
    assert again is reason


def test_reasons_are_different_sentences() -> None:
    assert len({reason.value for reason in InvalidReason}) == len(InvalidReason)


def test_alert_and_verification_add_what_they_know() -> None:
    alert = error_for(CODES["GNUTLS_E_FATAL_ALERT_RECEIVED"])
    assert isinstance(alert, AlertError)
    assert str(alert) == f"{alert.text} [{alert.name}, {alert.code}]", "nothing yet"
    alert.alert, alert.alert_name = 40, "Handshake failed"
    assert str(alert).endswith("] Handshake failed")
    refused = error_for(CODES["GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR"])
    assert isinstance(refused, VerificationError)
    refused.reasons = "The certificate is NOT trusted."
    assert str(refused).endswith("] The certificate is NOT trusted.")

"""Records of ticket keys at work: the secrets of the epochs that are still needed.

A ring holds several ratchets, that of the record with the latest start first. An epoch's secret is
made from the first that had begun by then. Nothing here changes a list of ratchets: a ring makes
the next one aside.
"""

from collections.abc import Sequence

from gnutls_resume.binding import TicketSecret
from gnutls_resume.binding.ticket import MAX_SECRETS, MAX_STEPS
from gnutls_resume.resumption.ticket_key_record import TicketKeyRecord


class SourceError(Exception):
    """What is wrong with where keys come from, in words that may be logged."""


class RollbackError(SourceError):
    """They are older than those in use."""


class DisagreementError(SourceError, ValueError):
    """Those who share keys have other ideas of how long these last."""


class FarOffError(SourceError, ValueError):
    """From a record's first epoch to now it is too far."""


class Ratchet:
    """A record at work: the secrets of the epochs that are still needed."""

    def __init__(self, record: TicketKeyRecord) -> None:
        self.generation = record.generation
        self.begin = record.start
        self.oldest = record.start
        self._secrets = {record.start: record.chain.ratchet(0)}  # our own, to be wiped
        self._met = record.start, record.fingerprint

    def secret(self, epoch: int) -> TicketSecret:
        """That of an epoch, `oldest` or later. Raises FarOffError."""
        found = self._secrets.get(epoch)
        if found is None:
            before = max(number for number in self._secrets if number < epoch)
            if epoch - before > MAX_STEPS:
                raise FarOffError(
                    f"the ticket keys are more than {MAX_STEPS} periods old: begin with new ones "
                    "(python -m gnutls_resume keys rotate)"
                )
            found = self._secrets[epoch] = self._secrets[before].ratchet(epoch - before)
        return found

    def forget(self, before: int) -> None:
        """Wipe the secrets of all epochs before this one."""
        self.oldest = max(self.oldest, before)
        self.secret(self.oldest)
        for number in [number for number in self._secrets if number < self.oldest]:
            self._secrets.pop(number).wipe()

    def wipe(self) -> None:
        for secret in self._secrets.values():
            secret.wipe()

    def leads_to(self, record: TicketKeyRecord) -> bool:
        """Whether this is the record, at another epoch perhaps."""
        if record.generation != self.generation:
            return False
        met = record.start, record.fingerprint
        if met != self._met:  # a source brings the same again and again
            common = max(record.start, self.oldest)
            if common - min(record.start, self.oldest) > MAX_STEPS:
                return False
            later = record.chain.ratchet(common - record.start)
            if later.fingerprint != self.secret(common).fingerprint:
                return False
            self._met = met
        return True


def accepted(epoch: int) -> tuple[int, int, int]:
    """The numbers of the epochs that are accepted in this one, the current one first."""
    return epoch, epoch - 1, epoch + 1


def begun(ratchets: Sequence[Ratchet], epoch: int) -> list[Ratchet]:
    """Those that have begun by that epoch; the first is the one that counts."""
    return [ratchet for ratchet in ratchets if ratchet.begin <= epoch]


def secrets_of(ratchets: Sequence[Ratchet], epoch: int) -> list[TicketSecret]:
    """Those of an epoch: the newest record's that had begun, and those of records that began
    together with it, if hosts could not agree on one.
    """
    found = begun(ratchets, epoch)
    return [
        ratchet.secret(epoch)
        for ratchet in found
        if ratchet.begin == found[0].begin and ratchet.oldest <= epoch
    ]


def still_needed(ratchets: Sequence[Ratchet], epoch: int) -> list[Ratchet]:
    """Those whose tickets may be alive in that epoch. A record is needed for one epoch after the
    next has begun, and beside one that began together with it as long as if that were the next.
    """
    kept: list[Ratchet] = []
    for ratchet in ratchets:
        twins = sum(newer.begin == ratchet.begin for newer in kept)
        ended = any(newer.begin + (newer.begin == ratchet.begin) < epoch for newer in kept)
        if not ended and twins < MAX_SECRETS:
            kept.append(ratchet)
    return kept


def with_record(held: list[Ratchet], record: TicketKeyRecord) -> list[Ratchet]:
    """The ratchets with that of a record in its place: first of those that begin with it. The
    same list if it is there.
    """
    if held and record.generation < held[0].generation:
        return held
    if held and record.generation > held[0].generation:
        return [Ratchet(record)]
    place = sum(ratchet.begin > record.start for ratchet in held)
    if any(ratchet.leads_to(record) for ratchet in held[: place + 1]):
        return held
    rest = held[place:]
    twins = [it for it in rest if it.begin == record.start and it.leads_to(record)]
    chosen = twins[0] if twins else Ratchet(record)
    return [*held[:place], chosen, *(ratchet for ratchet in rest if ratchet is not chosen)]


def refuse_rollback(held: Sequence[Ratchet], record: TicketKeyRecord, epoch: int) -> None:
    current = begun(held, epoch)[0]
    older = (record.generation, record.start) < (current.generation, current.begin)
    if older and not any(ratchet.leads_to(record) for ratchet in held):
        raise RollbackError("it holds keys that are older than those in use")


def check_agreement(record: TicketKeyRecord, period: int, ticket_lifetime: int) -> None:
    if (record.period, record.ticket_lifetime) != (period, ticket_lifetime):
        raise DisagreementError(
            "all who share ticket keys need the same period and ticket_lifetime: here they are "
            f"{period} and {ticket_lifetime} seconds, there {record.period} and "
            f"{record.ticket_lifetime}"
        )

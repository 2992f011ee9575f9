"""What a DICOM target ends up holding when people decide: a stand-in that only remembers, the real ledger."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from gateway.model import Received
from gateway.spool.decisions import By
from gateway.spool.deliveries import InstanceTicket, Variant
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Compared
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import normalised, received

STUDY = "1.2.1"
X, Y, OTHER_X = received(1), received(2), received(1, content="other")


class Site:
    """A ledger, and an archive named ``one`` that does what it is told. Each step happens later than the one before."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.marks: dict[str, str] = {}  #: what the archive holds: digest -> its mark
        self.now = NOW

    def by(self) -> By:
        self.now += 10
        return By(name="radiographer", reason="mixed up", at=self.now)

    def take(self, *items: Received, patient: str = "sys|P1") -> None:
        self.now += 10
        self.ledger.intake.record_arrivals(list(items))
        tickets = self.ledger.stages.lease(limit=99, now=self.now, lease_secs=1)
        done = [normalised(ticket, patient=patient) for ticket in tickets]
        self.ledger.stages.advance(done, archives=["one"], now=self.now)

    def not_understood(self, item: Received) -> None:
        self.now += 10
        self.ledger.intake.record_arrivals([item])
        (ticket,) = self.ledger.stages.lease(limit=99, now=self.now, lease_secs=1)
        self.ledger.stages.quarantine(ticket, "no mapping fits", archives=["one"], now=self.now)

    def other_content(self, item: Received) -> None:
        self.take(item)
        for ticket in self.ledger.stages.lease_comparisons(limit=9, now=self.now, lease_secs=1):
            result = Compared(ticket=ticket, same=False, reason="(0010,0010) differs", normalised=normalised(ticket))
            self.ledger.stages.settle_comparison(result)

    def lease(self) -> list[InstanceTicket]:
        self.now += 100
        return self.ledger.deliveries.lease_instances("one", limit=99, now=self.now, lease_secs=1)

    def obey(self, ticket: InstanceTicket) -> None:
        if ticket.variant is Variant.ORIGINAL:
            self.marks[ticket.digest] = ""
        elif ticket.digest in self.marks:
            self.marks[ticket.digest] = str(ticket.variant)

    def deliver(self, *, refused: Collection[Variant] = ()) -> None:
        while tickets := self.lease():
            for ticket in tickets:
                if ticket.variant in refused:
                    self.ledger.deliveries.park(ticket, "refused", now=self.now)
                else:
                    self.obey(ticket)
                    self.ledger.deliveries.verified_instances([ticket], now=self.now)

    def retry_parked(self) -> None:
        self.now += 10
        self.ledger.deliveries.unpark([item["id"] for item in self.ledger.overview.deliveries("parked")], now=self.now)

    def held(self) -> dict[str, str]:
        """What the archive holds, by the names of this file."""
        names = {item.instance.digest: name for name, item in (("x", X), ("y", Y), ("other x", OTHER_X))}
        return {names[digest]: mark for digest, mark in self.marks.items()}


@pytest.fixture
def site(ledger: Ledger) -> Site:
    return Site(ledger)


@pytest.mark.parametrize("understood", [True, False])
def test_what_comes_after_a_withdrawal_is_not_sent_until_that_is_undone(site: Site, understood: bool) -> None:
    site.take(X)
    site.deliver()
    site.ledger.decisions.withdraw(STUDY, site.by())
    site.deliver()
    if understood:
        site.take(Y)
    else:
        site.not_understood(Y)
    site.deliver()
    assert site.held() == {"x": "withdrawn"}
    site.ledger.decisions.undo(STUDY, site.by())
    site.deliver()
    assert site.held() == {"x": "", "y": ""}


def test_what_comes_after_a_reassignment_is_marked_as_the_rest(site: Site) -> None:
    site.take(X)
    site.deliver()
    site.ledger.decisions.reassign(STUDY, "sys|P9", site.by())
    site.deliver()
    site.take(Y)
    site.deliver()
    assert site.held() == {"x": "reassigned", "y": "reassigned"}


def test_what_comes_after_a_reassignment_and_a_withdrawal_is_marked_when_the_latter_is_undone(site: Site) -> None:
    site.take(X)
    site.ledger.decisions.reassign(STUDY, "sys|P9", site.by())
    site.ledger.decisions.withdraw(STUDY, site.by())
    site.take(Y)
    site.deliver()
    assert site.held() == {"x": "withdrawn"}
    site.ledger.decisions.undo(STUDY, site.by())
    site.deliver()
    assert site.held() == {"x": "reassigned", "y": "reassigned"}


@pytest.mark.parametrize("what", ["withdraw", "reassign"])
@pytest.mark.parametrize("how", ["on the wire", "answer lost", "answer lost and retried by hand"])
def test_undoing_what_may_have_arrived_gives_the_image_again(site: Site, what: str, how: str) -> None:
    site.take(X)
    site.deliver()
    if what == "withdraw":
        site.ledger.decisions.withdraw(STUDY, site.by())
    else:
        site.ledger.decisions.reassign(STUDY, "sys|P9", site.by())
    (told,) = site.lease()
    site.obey(told)
    if how == "answer lost":
        site.ledger.deliveries.retry(told, "no answer", at=site.now + 1000)
    elif how == "answer lost and retried by hand":
        site.ledger.deliveries.park(told, "no answer", now=site.now)
        site.retry_parked()
    site.ledger.decisions.undo(STUDY, site.by())
    site.ledger.deliveries.verified_instances([told], now=site.now)
    site.deliver()
    assert site.held() == {"x": ""}


@pytest.mark.parametrize("what", ["withdraw", "reassign"])
def test_an_image_tried_again_by_hand_is_not_marked_with_what_was_undone(site: Site, what: str) -> None:
    site.take(X)
    site.deliver()
    if what == "withdraw":
        site.ledger.decisions.withdraw(STUDY, site.by())
    else:
        site.ledger.decisions.reassign(STUDY, "sys|P9", site.by())
    site.deliver()
    site.ledger.decisions.undo(STUDY, site.by())
    site.deliver(refused=[Variant.ORIGINAL])
    site.retry_parked()
    site.deliver()
    assert site.held() == {"x": ""}


def test_an_image_tried_again_by_hand_is_marked_with_what_holds(site: Site) -> None:
    site.take(X)
    site.deliver(refused=[Variant.ORIGINAL])
    site.ledger.decisions.reassign(STUDY, "sys|P9", site.by())
    site.deliver()
    site.retry_parked()
    site.deliver()
    assert site.held() == {"x": "reassigned"}


def test_a_content_set_aside_stays_withdrawn_when_a_withdrawal_of_its_study_is_undone(site: Site) -> None:
    site.take(X)
    site.deliver()
    site.other_content(OTHER_X)
    site.ledger.decisions.accept_content(STUDY, OTHER_X.instance.digest, site.by())
    for _ in range(2):  # before the archive heard of the content, and after
        site.ledger.decisions.withdraw(STUDY, site.by())
        site.ledger.decisions.undo(STUDY, site.by())
        site.deliver()
        assert site.held() == {"x": "withdrawn", "other x": ""}


@pytest.mark.parametrize("delivered", [False, True])
def test_a_content_decision_that_is_undone_leaves_the_first_in_force(site: Site, delivered: bool) -> None:
    site.take(X)
    site.deliver()
    site.other_content(OTHER_X)
    site.ledger.decisions.accept_content(STUDY, OTHER_X.instance.digest, site.by())
    if delivered:
        site.deliver()
    site.ledger.decisions.undo(STUDY, site.by())
    site.deliver()
    assert site.held() == {"x": ""} | ({"other x": "withdrawn"} if delivered else {})


def test_a_content_put_in_force_in_a_withdrawn_study_is_sent_when_that_is_undone(site: Site) -> None:
    site.take(X)
    site.deliver()
    site.other_content(OTHER_X)
    first = site.ledger.decisions.withdraw(STUDY, site.by())
    site.deliver()
    site.ledger.decisions.accept_content(STUDY, OTHER_X.instance.digest, site.by())
    site.deliver()
    assert site.held() == {"x": "withdrawn"}
    site.ledger.decisions.undo(STUDY, site.by())
    site.deliver()
    assert site.held() == {"x": "withdrawn"}
    undone = site.ledger.decisions.undo(STUDY, site.by())
    assert undone.undoes == first.id
    site.deliver()
    assert site.held() == {"x": ""}


def test_a_content_put_in_force_in_a_reassigned_study_is_marked_as_the_rest(site: Site) -> None:
    site.take(X)
    site.deliver()
    site.other_content(OTHER_X)
    site.ledger.decisions.reassign(STUDY, "sys|P9", site.by())
    site.ledger.decisions.accept_content(STUDY, OTHER_X.instance.digest, site.by())
    site.deliver()
    assert site.held() == {"x": "withdrawn", "other x": "reassigned"}

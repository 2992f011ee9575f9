"""What proves who a program is, and every way we know to pretend to be one (RFC 8725; SMART Backend Services)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.access.assertion import Assertions
from gateway.access.book import REMEMBER_SECS, Given, TokenBook
from gateway.access.issuers import LOOK_AGAIN_SECS, Issuers
from gateway.access.keys import Untrusted, read_keys
from gateway.client_settings import ClientSettings, IssuerSettings
from gateway.errors import Misconfigured, Retryable
from gateway.scopes import Scope, granted, only_some, read_scopes
from gateway.web.bearers import check_queries
from gateway.web.limits import Rates
from tests.signing import ec_key, key_set, pem, rsa_key, signed

OURS = "https://isobridge.example/fhir/auth/token"
RSA, EC, STRANGER = rsa_key(), ec_key(), rsa_key()


def proof(**changes: Any) -> dict[str, Any]:
    claims = {"iss": "lung", "sub": "lung", "aud": OURS, "exp": 240, "jti": secrets.token_hex(8)}
    return claims | changes


def unsigned(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    """A JWT by hand: what PyJWT refuses to write."""

    def part(tree: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(tree).encode()).decode().rstrip("=")

    text = f"{part(header)}.{part(claims)}"
    mark = hmac.digest(key, text.encode(), hashlib.sha256) if key else b""
    return f"{text}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"


@pytest.fixture(scope="module")
def assertions(tmp_path_factory: pytest.TempPathFactory) -> Assertions:
    keys = {"lung": read_keys(key_set(rsa1=RSA, ec1=EC)), "plain": read_keys(pem(RSA)), "other": read_keys(key_set(x=STRANGER))}
    return Assertions(keys, TokenBook(f"sqlite:///{tmp_path_factory.mktemp('book') / 'access.db'}"))


@pytest.mark.parametrize(
    "good",
    [
        lambda: ("lung", signed(RSA, "RS384", proof(), kid="rsa1")),
        lambda: ("lung", signed(EC, "ES384", proof(), kid="ec1")),
        lambda: ("plain", signed(RSA, "RS384", proof(iss="plain", sub="plain"), kid="whatever")),
        lambda: ("plain", signed(RSA, "RS384", proof(iss="plain", sub="plain"))),
    ],
)
def test_a_client_that_signs_gets_in_once(assertions: Assertions, good: Callable[[], tuple[str, str]]) -> None:
    name, text = good()
    assert assertions.client(text, [OURS]) == name
    with pytest.raises(Untrusted, match="used before"):
        assertions.client(text, [OURS])


FAR = 1 << 33
FORGED: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned({"alg": "none", "kid": "rsa1"}, proof(exp=FAR)),
    "alg None in capitals": lambda: unsigned({"alg": "NONE", "kid": "rsa1"}, proof(exp=FAR)),
    "HS256 with the public key as secret": lambda: unsigned({"alg": "HS256", "kid": "rsa1"}, proof(exp=FAR), pem(RSA).encode()),
    "RS384 announced, HMAC made": lambda: unsigned({"alg": "RS384", "kid": "rsa1"}, proof(exp=FAR), pem(RSA).encode()),
    "no signature": lambda: signed(RSA, "RS384", proof(), kid="rsa1").rpartition(".")[0] + ".",
    "another's key": lambda: signed(STRANGER, "RS384", proof(), kid="rsa1"),
    "another client's key by its name": lambda: signed(STRANGER, "RS384", proof(), kid="x"),
    "expired": lambda: signed(RSA, "RS384", proof(exp=-30), kid="rsa1"),
    "good for an hour": lambda: signed(RSA, "RS384", proof(exp=3600), kid="rsa1"),
    "exp is no number": lambda: signed(RSA, "RS384", proof(exp="soon"), kid="rsa1"),
    "no exp": lambda: signed(RSA, "RS384", proof(exp=None), kid="rsa1"),
    "not yet good": lambda: signed(RSA, "RS384", proof(nbf=FAR), kid="rsa1"),
    "made for another": lambda: signed(RSA, "RS384", proof(aud="https://other.example/token"), kid="rsa1"),
    "made for a longer address": lambda: signed(RSA, "RS384", proof(aud=OURS + ".evil.example"), kid="rsa1"),
    "no aud": lambda: signed(RSA, "RS384", proof(aud=None), kid="rsa1"),
    "no jti": lambda: signed(RSA, "RS384", proof(jti=None), kid="rsa1"),
    "empty jti": lambda: signed(RSA, "RS384", proof(jti=""), kid="rsa1"),
    "endless jti": lambda: signed(RSA, "RS384", proof(jti="x" * 1000), kid="rsa1"),
    "iss and sub differ": lambda: signed(RSA, "RS384", proof(sub="other"), kid="rsa1"),
    "no sub": lambda: signed(RSA, "RS384", proof(sub=None), kid="rsa1"),
    "unknown client": lambda: signed(RSA, "RS384", proof(iss="nobody", sub="nobody"), kid="rsa1"),
    "kid is a path": lambda: signed(RSA, "RS384", proof(), kid="../../../../etc/passwd"),
    "kid is SQL": lambda: signed(RSA, "RS384", proof(), kid="rsa1' UNION SELECT 'x"),
    "kid is missing among several": lambda: signed(RSA, "RS384", proof()),
    "kid of the other kind of key": lambda: signed(RSA, "RS384", proof(), kid="ec1"),
    "an algorithm that SMART does not name": lambda: signed(RSA, "RS256", proof(), kid="rsa1"),
    "keys brought along": lambda: signed(
        STRANGER, "RS384", proof(), kid="rsa1", jku="https://evil.example/keys", jwk=json.loads(key_set(rsa1=STRANGER))["keys"][0]
    ),
    "unknown extensions": lambda: signed(RSA, "RS384", proof(), kid="rsa1", crit=["x"], x=1),
    "too long": lambda: signed(RSA, "RS384", proof(pad="x" * 9000), kid="rsa1"),
    "no JWT": lambda: "a.b.c",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("name", FORGED)
def test_nobody_else_gets_in(assertions: Assertions, name: str) -> None:
    with pytest.raises(Untrusted):
        assertions.client(FORGED[name](), [OURS])


def test_a_restart_forgets_no_assertion(tmp_path: Path) -> None:
    url, keys, text = f"sqlite:///{tmp_path / 'access.db'}", {"lung": read_keys(key_set(rsa1=RSA))}, ""
    text = signed(RSA, "RS384", proof(), kid="rsa1")
    book = TokenBook(url)
    Assertions(keys, book).client(text, [OURS])
    book.close()
    with pytest.raises(Untrusted, match="used before"):
        Assertions(keys, TokenBook(url)).client(text, [OURS])


def test_a_token_ends(tmp_path: Path) -> None:
    now = [1000.0]
    book = TokenBook(f"sqlite:///{tmp_path / 'access.db'}", lambda: now[0])
    token = book.give("lung", "system/*.rs", 300)
    assert token.encode() not in (tmp_path / "access.db").read_bytes()
    now[0] += 299
    assert book.find(token) == Given("lung", "system/*.rs")
    now[0] += 2
    assert book.find(token) == Given("lung", "system/*.rs", is_over=True)
    now[0] += REMEMBER_SECS
    book.give("lung", "system/*.rs", 300)
    assert book.find(token) is None
    assert book.find("x") is None


HOSPITAL = IssuerSettings(
    name="hospital", url="https://login.example/r", audience="isobridge", client_claim="azp", keys_url="https://x"
)


def outside(**changes: Any) -> dict[str, Any]:
    return {"iss": HOSPITAL.url, "aud": ["isobridge"], "exp": 60, "azp": "lung", "scope": "openid system/*.rs"} | changes


def test_a_token_of_the_issuer_is_taken() -> None:
    issuers = Issuers([HOSPITAL], fetch=lambda _: key_set(k=RSA))
    claimed = issuers.claimed(signed(RSA, "RS256", outside(exp=-20), kid="k"))  # its clock is twenty seconds late
    assert (claimed.issuer, claimed.subject, claimed.scopes) == ("hospital", "lung", "system/*.rs")


@pytest.mark.parametrize(
    "forged",
    [
        lambda: unsigned({"alg": "none", "kid": "k"}, outside(exp=FAR)),
        lambda: unsigned({"alg": "HS256", "kid": "k"}, outside(exp=FAR), pem(RSA).encode()),
        lambda: signed(RSA, "RS384", outside(), kid="k"),
        lambda: signed(STRANGER, "RS256", outside(), kid="k"),
        lambda: signed(RSA, "RS256", outside(iss="https://login.example/r/"), kid="k"),
        lambda: signed(RSA, "RS256", outside(aud="account"), kid="k"),
        lambda: signed(RSA, "RS256", outside(aud=None), kid="k"),
        lambda: signed(RSA, "RS256", outside(exp=-120), kid="k"),
        lambda: signed(RSA, "RS256", outside(exp=None), kid="k"),
        lambda: signed(RSA, "RS256", outside(azp=None), kid="k"),
        lambda: signed(RSA, "RS256", outside(azp=["lung"]), kid="k"),
        lambda: signed(RSA, "RS256", outside(), kid="file:///dev/zero"),
    ],
)
def test_no_other_token_is_taken(forged: Callable[[], str]) -> None:
    with pytest.raises(Untrusted):
        Issuers([HOSPITAL], fetch=lambda _: key_set(k=RSA)).claimed(forged())


def test_keys_of_an_issuer_are_kept_and_looked_up_again_when_they_change() -> None:
    now, asked, keys = [0.0], [0], [key_set(old=RSA)]

    def fetch(_: IssuerSettings) -> str:
        asked[0] += 1
        if not keys[0]:
            raise Retryable("down")
        return keys[0]

    issuers = Issuers([HOSPITAL], fetch=fetch, clock=lambda: now[0])
    for _ in range(3):
        issuers.claimed(signed(RSA, "RS256", outside(), kid="old"))
    assert asked[0] == 1
    for number in range(5):  # invented names do not make us knock each time
        with pytest.raises(Untrusted):
            issuers.claimed(signed(RSA, "RS256", outside(), kid=f"no{number}"))
    assert asked[0] == 1
    keys[0], now[0] = key_set(new=STRANGER), LOOK_AGAIN_SECS + 1
    assert issuers.claimed(signed(STRANGER, "RS256", outside(), kid="new")).subject == "lung"
    with pytest.raises(Untrusted):
        issuers.claimed(signed(RSA, "RS256", outside(), kid="old"))
    keys[0], now[0] = "", 3600.0  # down: the keys known hold for a day
    assert issuers.claimed(signed(STRANGER, "RS256", outside(), kid="new")).subject == "lung"
    now[0] += 25 * 3600
    with pytest.raises(Retryable):
        issuers.claimed(signed(STRANGER, "RS256", outside(), kid="new"))


def test_scopes_are_read_and_cut_to_what_is_held() -> None:
    held = read_scopes("system/Observation.rs system/Patient.r")
    assert granted(read_scopes("system/*.cruds"), held) == held
    assert granted(read_scopes("system/Observation.read system/Device.rs"), held) == (Scope("Observation", "rs"),)
    assert granted(read_scopes("system/Patient.s"), held) == ()
    everything = read_scopes("system/*.rs")
    assert granted(read_scopes("system/AuditEvent.rs"), everything) == ()
    assert not everything[0].allows("read", "AuditEvent")


def test_queries_of_scopes_are_kept_and_added_to_each_other() -> None:
    laboratory = "system/Observation.rs?category=laboratory"
    held = read_scopes(f"{laboratory} system/Patient.r")
    assert " ".join(map(str, held)) == f"{laboratory} system/Patient.r"
    assert granted(read_scopes("system/*.rs"), held) == held
    assert granted(held, read_scopes("system/*.rs")) == held
    (both,) = granted(read_scopes("system/Observation.r?status=final"), held)
    assert both == Scope("Observation", "r", "category=laboratory&status=final")
    assert only_some(held) == (("Observation", ("category=laboratory",)),)
    assert only_some([*held, Scope("*", "s")]) == (("Observation", ("category=laboratory",)),), "read is still narrow"
    assert only_some([*held, Scope("Observation", "rs")]) == ()
    assert only_some(read_scopes(f"{laboratory} system/Observation.r?code=1")) == (
        ("Observation", ("category=laboratory", "code=1")),
        ("Observation", ("category=laboratory",)),
    )


@pytest.mark.parametrize(
    "query",
    ["patient.name=x", "_include=Observation:subject", "nothing=1", "status", "status=", "_has:Provenance:target:_id=1", "_count=5",
     "date=soon", "value-quantity=much"],
)  # fmt: skip
def test_a_query_that_cannot_be_kept_stops_the_start(query: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        check_queries([ClientSettings(name="a", token_hash="-", scopes=f"system/Observation.rs?{query}")])
    assert "clients.a.scopes: the query of system/Observation.rs cannot be kept" in str(caught.value)


def test_queries_that_can_be_kept() -> None:
    scopes = "system/Observation.rs?category=laboratory&date=ge2026&status:not=final system/ImagingStudy.rs?modality=PT,NM"
    check_queries([ClientSettings(name="a", token_hash="-", scopes=scopes)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("system/*.rs?_tag=x", "must name one type"),
        ("system/AuditEvent.rs?date=2026", "must name one type"),
        ("system/Observation.crs?code=x", "reading and searching"),
        ("system/Observation.rs?", "is not a scope"),
        ("patient/*.rs", "programs have system scopes"),
        ("system/Observation.sr", "is not a scope"),
        ("system/Observation.", "gives no right"),
        ("system/observation.rs", "is not a scope"),
        ("openid", "is not a scope"),
    ],
)
def test_a_scope_that_is_none_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_scopes(text)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "clients: {a: {keys_file: nowhere.pem, scopes: system/*.rs}}",
            "clients.a.keys_file names nowhere.pem, which is no file",
        ),
        ("clients: {a: {token_hash: 'sha256:1', scopes: system/*.rs}}", "needs a line that 'isobridge web-token' printed"),
        ("clients: {a: {scopes: system/*.rs}}", "exactly one of them tells who the client is"),
        ("clients: {a: {keys: '{}', scopes: system/*.cruds, group: g}}", "who is limited to a group changes nothing"),
        ("clients: {a: {keys: '{}', scopes: 'system/Observation.rs?code=1 system/Device.c'}}", "beside a scope with a query"),
        ("clients: {a: {keys: '{}', scopes: system/*.rs, token_minutes: 600}}", "token_minutes must be 1 to 60"),
        ("clients: {a: {issuer: x, subject: y, scopes: system/*.rs}}", "names none of the section issuers"),
        ("issuers: {a: {url: u, audience: b, keys_url: 'http://idp.example/k'}}", "must be https"),
        ("issuers: {a: {url: u, audience: b, keys_url: 'https://x/k', algorithms: [HS256]}}", "algorithms must be some of RS256"),
        ("clients: {a: {keyfile: x, scopes: system/*.rs}}", "did you mean 'keys_file'?"),
    ],
)
def test_wrong_settings_are_told_with_their_place(tmp_path: Path, lines: str, told: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(lines)
    with pytest.raises(Misconfigured) as caught:
        config.load(path)
    assert any(told in complaint and str(path) in complaint for complaint in caught.value.complaints)


def test_a_private_key_in_the_settings_is_refused() -> None:
    for text in ('{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB", "d": "y"}]}', '{"keys": [{"kty": "oct", "k": "x"}]}'):
        with pytest.raises(ValueError, match="private or secret"):
            read_keys(text)
    with pytest.raises(ValueError, match="private key"):
        read_keys("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----")


def test_a_bucket_empties_and_fills_again() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    assert [rates.wait_secs("a", 60) for _ in range(16)] == [0] * 15 + [1]
    assert rates.wait_secs("b", 60) == 0
    now[0] += 2.0
    assert [rates.wait_secs("a", 60) for _ in range(3)] == [0, 0, 1]

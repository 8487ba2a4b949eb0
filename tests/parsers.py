"""Every parser of external input, as one table: name → function that takes bytes, and a few seeds.

A parser may refuse input with an error of dregutil; any other exception is a finding. To add a parser, add a line to
PARSERS.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from dregutil.errors import DregutilError
from dregutil.inventory.cache_file import CacheFile
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.reader import read_header, read_indexes, read_journal
from dregutil.oci.image import parse_config
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, parse_manifest, sizes_below
from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag, parse_signature_tag
from dregutil.plan.file import decode_plan, decode_step
from dregutil.registry.answers import error_details, failure
from dregutil.registry.auth.bearer import _read_answer
from dregutil.registry.auth.challenge import parse_challenges
from dregutil.registry.auth.credentials import CredentialPlaces, find_credentials
from dregutil.registry.auth.digest_auth import DigestSession, choose_digest_challenge
from dregutil.registry.auth.realm import check_realm
from dregutil.registry.http.retry import retry_after
from dregutil.registry.http.transport import Answer
from dregutil.registry.paging import decoded, names_of, next_page
from dregutil.retention.image_list import read_image_list
from dregutil.retention.image_name import parse_image_name
from dregutil.retention.policyfile.reader import read_policy
from dregutil.select.content_selector import Label
from dregutil.select.glob import Glob
from dregutil.select.named import parse_named
from dregutil.select.quantity import parse_duration, parse_size
from dregutil.select.selector import parse_selector
from dregutil.select.version import parse_version, tag_order
from heads import HEAD, read_alike, read_body_alike

_NOW = datetime(2026, 11, 24, tzinfo=UTC)
_URL = URL("https://registry.example.com/v2/r/tags/list?n=1000")
_FOLDER = Path(tempfile.mkdtemp(prefix="dregutil-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
_DIGEST = "sha256:" + "0a" * 32


class Parser(NamedTuple):
    """`parse` takes external input; `seeds` are valid examples, from which others are derived."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def accepts(parser: Parser, raw: bytes) -> bool:
    """Whether a parser accepts `raw`; exceptions other than its refusals propagate."""
    try:
        parser.parse(raw)
    except DregutilError:
        return False
    return True


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda raw: parse(raw.decode(errors="surrogateescape"))


def _header(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """As aiohttp gives a header's value: no line ends."""
    return lambda raw: parse(raw.decode(errors="surrogateescape").replace("\r", "").replace("\n", ""))


def _answer(raw: bytes, status: int = 200) -> Answer:
    return Answer(status, CIMultiDictProxy(CIMultiDict()), raw, _URL)


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def parse(raw: bytes) -> object:
        (_FOLDER / name).write_bytes(raw)
        return read(_FOLDER / name)

    return parse


def _list(key: str, parse: Callable[[str], Any]) -> Callable[[bytes], object]:
    return lambda raw: names_of(decoded(_answer(raw), "read"), key, parse)


def _manifest(media_type: str) -> Callable[[bytes], object]:
    return lambda raw: sum(sizes_below(parse_manifest(raw, media_type, Digest(_DIGEST)), {}).values())


def _credentials(raw: bytes) -> object:
    (_FOLDER / "config.json").write_bytes(raw)
    places = CredentialPlaces({"DOCKER_CONFIG": str(_FOLDER), "PATH": ""}, helper_timeout=1)
    found = find_credentials(RegistryAddress.parse("registry.example.com:5000"), places, repository="team/a")
    return None if found is None or found.kind == "bearer" else found.basic()


def _digest_login(header: str) -> object:
    chosen = choose_digest_challenge(parse_challenges([header]))
    return None if chosen is None else DigestSession(chosen, "user", "password").answer("GET", "/v2/")


def _realm(header: str) -> object:
    return [
        check_realm(found.get("realm"), "https://a.example", has_credentials=True)
        for found in parse_challenges([header])
    ]


def _step(raw: bytes) -> object:
    try:
        return decode_step(raw)
    except (msgspec.MsgspecError, ValueError):  # as documented; the plan and the record catch them
        return None


def _journal(raw: bytes) -> object:
    """A record in which the checksum of every line is right, so that its content is trusted."""
    lines = [b"%b %b\n" % (hashlib.sha256(line).hexdigest()[:16].encode(), line) for line in raw.splitlines()]
    (_FOLDER / FILE_NAME).write_bytes(b"".join(lines))
    return list(read_indexes(_FOLDER)), read_journal(_FOLDER), read_header(_FOLDER)


def _plan(raw: bytes) -> object:
    """A plan with the right checksum, and the bytes unchanged."""
    lines = raw.splitlines(keepends=True)
    trailer = b'{"steps":%d,"sha256":"%s"}' % (len(lines) - 1, hashlib.sha256(raw).hexdigest().encode())
    return accepts(Parser(lambda _: decode_plan(lines), ()), raw), decode_plan([*lines, trailer])


def _pattern(text: str) -> object:
    (glob,) = parse_named([f"{text}*"], RegistryAddress.parse("registry.example.com")).names
    return isinstance(glob, Glob) and glob.matches("a" * 40 + "/b")


def _sorted(text: str) -> object:
    return sorted((tag[:128] for tag in text.split("\n")), key=tag_order)


_IMAGE = (
    b'{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"a/b","digest":"%s","size":7},"layers":[{"mediaType":"c",'
    b'"digest":"%s","size":12,"urls":["u"]}],"subject":{"digest":"%s","size":1},"annotations":{"a":"b"}}'
    % (OCI_MANIFEST.encode(), _DIGEST.encode(), _DIGEST.encode(), _DIGEST.encode())
)
_INDEX = (
    b'{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":5,"platform":'
    b'{"os":"linux","architecture":"arm","variant":"v7"},"annotations":{"vnd.docker.reference.type":"x"}}]}'
    % (OCI_INDEX.encode(), OCI_MANIFEST.encode(), _DIGEST.encode())
)
_PLAN = (
    b'{"version":1,"registry":"r","made_at":"2026-11-24T00:00:00Z","command":"c","usage":{"reclaimable_bytes":1,"exact":'
    b'false},"kept":{"a":1}}\n{"step":1,"needs":[],"action":"delete","repository":"r","digest":"%s","tags":["1"],"kind":'
    b'"image","because":"b"}\n{"steps":1,"sha256":"%s"}\n' % (_DIGEST.encode(), b"0" * 64)
)
_CHALLENGE = b'Bearer realm="https://auth.example.com/t",service="s",scope="repository:r:pull,push repository:x:pull"'
_DIGEST_CHALLENGE = b'Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=SHA-256-sess, opaque="o", Basic'
_ERRORS = b'{"errors":[{"code":"DENIED","message":"m","detail":{"a":[1]}},{"code":"UNSUPPORTED"}]}'
_TAGS = b"1.4-rc1\n1.4.0\nv2\nrelease-1.2_7\nlatest\n0a1b2c3\n1.10-alpine3.20"

_POLICY = b"""version: 1
timezone: UTC
defaults: {}
protect: {}
policies:
  - name: a
    repositories: [team/*]
    keep: {last: 3, within: 30d}
"""
_LIST = b"# in use\nr.example/a:1.0\ndocker-pullable://r.example/team/b@%s\n" % _DIGEST.encode()
_PODS = (
    b'{"kind":"List","items":[{"spec":{"containers":[{"image":"a:1"}]},"status":{"imageID":"a@%s"}}]}'
    % _DIGEST.encode()
)
_COMPOSE = b"services:\n  web: &w\n    image: r.example/a:1.0\n  other: *w\n---\nimage: {repository: b, tag: '2'}\n"
_RECORD = (
    b'{"type":"run","version":1,"run":"r","registry":"a","started":"2026-11-24T00:00:00Z","command":"c","steps":1}\n'
    b'{"type":"step","plan":%s}\n{"type":"intent","step":1,"repository":"r","tags":["1"],"digest":"%s","media_type":"%s",'
    b'"raw":"e30="}\n{"type":"outcome","step":1,"result":"removed"}\n{"type":"looked","repository":"r"}\n'
    b'{"type":"restored","repository":"r","digest":"%s","tags":["1"]}\n{"type":"end","finished":"2026-11-24T00:00:00Z"}'
    % (_PLAN.splitlines()[1], _DIGEST.encode(), OCI_INDEX.encode(), _DIGEST.encode())
)

PARSERS: dict[str, Parser] = {
    "manifest": Parser(_manifest(OCI_MANIFEST), (_IMAGE,)),
    "index": Parser(_manifest(OCI_INDEX), (_INDEX,)),
    "manifest of any type": Parser(_manifest("application/x"), (_IMAGE, _INDEX, b'{"fsLayers":[{"blobSum":"x"}]}')),
    "image config": Parser(parse_config, (b'{"created":"2026-01-01T00:00:00Z","config":{"Labels":{"a":"b"}}}',)),
    "tag list": Parser(_list("tags", Tag.parse), (b'{"name":"r","tags":["1.0",null,"","-"]}', b'{"tags":null}')),
    "catalog": Parser(_list("repositories", Repository.parse), (b'{"repositories":["a/b","a__b","-"]}',)),
    "error body": Parser(lambda raw: (error_details(raw), failure(_answer(raw, 403), "read", "u")), (_ERRORS,)),
    "token": Parser(lambda raw: _read_answer(raw, "h"), (b'{"token":"t","expires_in":60}', b'{"access_token":"a"}')),
    "Link": Parser(_header(lambda text: next_page([text], _URL)), (b'</v2/_catalog?n=1&last=a>; rel="next"', b"<x>")),
    "answer with a body": Parser(
        read_body_alike,
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ),
    ),
    "head of an answer": Parser(read_alike, (HEAD, b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")),
    "WWW-Authenticate": Parser(_header(lambda text: parse_challenges([text])), (_CHALLENGE, _DIGEST_CHALLENGE)),
    "HTTP Digest": Parser(_header(_digest_login), (_DIGEST_CHALLENGE,)),
    "realm": Parser(_header(_realm), (_CHALLENGE, b'Bearer realm="http://[::1]:80/"')),
    "Retry-After": Parser(_header(lambda text: retry_after(text, _NOW)), (b"7", b"Tue, 24 Nov 2026 00:00:09 GMT")),
    "login file": Parser(
        _credentials,
        (b'{"auths":{"registry.example.com:5000":{"auth":"dTpw"}},"credHelpers":{"a":"b"},"credsStore":""}',),
    ),
    "cache file": Parser(
        _in_file("cache.json", lambda path: CacheFile(path).read()), (b'{"r":{"1.0":"%s"}}' % _DIGEST.encode(),)
    ),
    "plan": Parser(_plan, (_PLAN, _PLAN.rpartition(b'{"steps"')[0])),
    "step": Parser(_step, (_PLAN.splitlines()[1],)),
    "record of a run": Parser(_journal, (_RECORD,)),
    "policy": Parser(_text(read_policy), (_POLICY,)),
    "image list": Parser(_text(lambda text: read_image_list(text, "list")), (_LIST, _PODS, _COMPOSE)),
    "image's name": Parser(_text(parse_image_name), (b"r.example:5000/a/b:1.0", b"docker://a@%s" % _DIGEST.encode())),
    "version": Parser(_text(_sorted), (_TAGS,)),
    "one version": Parser(_text(parse_version), (b"release-1.4.0-rc1-alpine", b"1." * 60)),
    "selector": Parser(_text(parse_selector), (b"<1.4", b">=v2-rc1", b"latest")),
    "signature tag": Parser(_text(parse_signature_tag), (b"sha256-%s.sig" % (b"0" * 64),)),
    "reference": Parser(_text(Reference.parse), (b"r/a:1.0@%s" % _DIGEST.encode(), b"localhost:5000/a")),
    "registry's address": Parser(
        _text(lambda text: RegistryAddress.parse(text).identity), (b"https://[::1]:5000/p", b"a.b:1")
    ),
    "glob": Parser(_text(_pattern), (b"team/**/a*", b"{a,b}?[c]")),
    "label": Parser(_text(Label.parse), (b"a=b", b"a")),
    "age": Parser(_text(parse_duration), (b"7d", b"1h30m")),
    "size": Parser(_text(parse_size), (b"1.5GiB", b"10MB")),
}

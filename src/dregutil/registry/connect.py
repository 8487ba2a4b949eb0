"""Opens a connection: address, TLS, credentials and proxy."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dregutil.errors import DregutilError, UsageError
from dregutil.oci.api_address import ApiAddress
from dregutil.oci.names import RegistryAddress
from dregutil.registry.auth.credentials import CredentialPlaces, Credentials
from dregutil.registry.auth.keyring import Keyring, look_up_keyring
from dregutil.registry.http.certificates import ClientPair, certificates_of
from dregutil.registry.http.transport import READING, WRITING, Transport
from dregutil.registry.native.access import Access
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.reader import Login, Registry
from dregutil.registry.writer import WritableRegistry

__all__ = ["ConnectOptions", "connect", "connect_writable"]


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to reach a registry.

    Without `user`, credentials are looked up where Docker and podman keep them, `authfile` first. `password` may be a
    function, which is called when the password is first needed, and again if it is refused. `credential_source` is
    "flags", "environment", or the name of a weaker place. `verify` is the path of a CA bundle, or False for no
    verification. `timeout` is in seconds without an answer. `insecure` allows plain HTTP and untrusted certificates.
    `api` is the API of the registry's service, where the user names it: the login is sent there as well. `on_warning`
    receives what the registry itself warns of.
    """

    user: str | None = None
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    digest_auth: bool = False
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: Path | bool = True
    use_get_manifest: bool = False
    concurrency: int = 32
    timeout: float = 30.0
    insecure: bool = False
    credential_source: str = "flags"
    authfile: str | None = None
    api: ApiAddress | None = None
    on_warning: Callable[[str], None] | None = None


@asynccontextmanager
async def connect(address: RegistryAddress | str, options: ConnectOptions | None = None) -> AsyncIterator[Registry]:
    """A registry to read. Raises UsageError, CredentialError, UnreachableError, CertificateError."""
    chosen = options or ConnectOptions()
    async with _opened(address, chosen, READING) as (access, login):
        registry = Registry(
            access.address,
            access.transport,
            login,
            use_get_manifest=chosen.use_get_manifest,
            concurrency=chosen.concurrency,
        )
        registry.attach(access)
        yield registry


@asynccontextmanager
async def connect_writable(
    address: RegistryAddress | str, options: ConnectOptions | None = None
) -> AsyncIterator[WritableRegistry]:
    """A registry that may be changed. Raises as `connect` does."""
    chosen = options or ConnectOptions()
    async with _opened(address, chosen, READING | WRITING) as (access, login):
        registry = WritableRegistry(
            access.address,
            access.transport,
            login,
            use_get_manifest=chosen.use_get_manifest,
            concurrency=chosen.concurrency,
        )
        registry.attach(access)
        yield registry


@asynccontextmanager
async def _opened(
    address: RegistryAddress | str, options: ConnectOptions, methods: frozenset[str]
) -> AsyncIterator[tuple[Access, Callable[[str], Login]]]:
    parsed = RegistryAddress.parse(address) if isinstance(address, str) else address
    found = await _with_scheme(parsed, options)
    _check_named(options, found)
    keyring = look_up_keyring(found, _places(options), digest_auth=options.digest_auth)
    transport = Transport(
        found.base_url,
        keyring,
        methods=methods,
        tls=_tls(found, options) if found.scheme == "https" else True,
        concurrency=options.concurrency,
        timeout=options.timeout,
        proxy=_proxy(found),
        on_warning=options.on_warning,
    )
    others: list[Transport] = []
    try:
        opened = functools.partial(_other_host, options, methods, others)
        access = Access(found, transport, keyring, opened, options.api)
        yield access, functools.partial(_login, keyring)
    except DregutilError as error:
        error.message = keyring.redacted(error.message)  # a host or a header may repeat a secret
        error.args = (error.message,)
        raise
    finally:
        for one in (transport, *others):
            await one.close()


def _other_host(
    options: ConnectOptions, methods: frozenset[str], opened: list[Transport], base: str, login: ApiLogin
) -> Transport:
    """A connection to another host of the registry's service. Its certificate is always verified, but for a host that
    the user named; the registry's client certificate is not shown to it."""
    address = RegistryAddress.parse(base)
    chosen = replace(options, client_cert=None, client_key=None)
    if options.api is None:
        bundle = options.verify if isinstance(options.verify, Path) else True
        chosen = replace(chosen, verify=bundle, insecure=False)
    transport = Transport(
        base,
        login,
        methods=methods,
        tls=_tls(address, chosen) if address.scheme == "https" else True,
        concurrency=options.concurrency,
        timeout=options.timeout,
        proxy=_proxy(address),
    )
    opened.append(transport)
    return transport


def _check_named(options: ConnectOptions, registry: RegistryAddress) -> None:
    """Raise UsageError if the API is named by plain HTTP, and the registry uses TLS: the login is sent to both."""
    api = options.api
    if api is not None and api.base.startswith("http:") and registry.scheme == "https" and not options.insecure:
        raise UsageError(
            f"the API {api.base} is named without TLS, and the registry uses TLS",
            advice="name it by https://; --insecure sends the login without TLS",
        )


def _places(options: ConnectOptions) -> CredentialPlaces:
    """A login on the command line is the only place. One from the environment comes after a named file, any other one
    after the files that the environment names, too."""
    if not options.user:
        return CredentialPlaces(authfile=options.authfile)
    source = options.credential_source
    return CredentialPlaces(
        authfile=None if source == "flags" else options.authfile,
        login=functools.partial(_given_login, options),
        environment_first=source not in ("flags", "environment"),
    )


def _given_login(options: ConnectOptions) -> Credentials:
    password = options.password() if callable(options.password) else options.password
    return Credentials(options.user or "", password or "", "password", options.credential_source)


def _login(keyring: Keyring, repository: str = "") -> Login:
    found = keyring.of(repository)
    credentials = found.credentials
    user = "" if credentials is None else credentials.user
    return Login(user, "none" if credentials is None else credentials.source, found.scheme_used)


async def _with_scheme(address: RegistryAddress, options: ConnectOptions) -> RegistryAddress:
    """https if no scheme was given; on a loopback address http, but only if the answer is not TLS at all."""
    if address.scheme:
        return address
    if not address.is_loopback and not options.insecure:
        return address.with_scheme("https")
    return address.with_scheme("https" if await _speaks_tls(address, options.timeout) else "http")


async def _speaks_tls(address: RegistryAddress, timeout: float) -> bool:
    """Whether a TLS handshake is answered with TLS, whatever the certificate. True if nothing answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no request is sent over it
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(address.host, address.port or 443, ssl=context)
    except ssl.SSLError as error:
        return error.reason not in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
    except (TimeoutError, OSError):
        # Without a port, plain HTTP is on another one.
        return address.port is not None
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def _tls(address: RegistryAddress, options: ConnectOptions) -> ssl.SSLContext:
    """The TLS context, from the options, else from Docker's and podman's folders for this host.

    Raises UsageError if a file cannot be used.
    """
    kept = certificates_of(address)
    bundle = options.verify if isinstance(options.verify, Path) else None
    try:
        context = ssl.create_default_context(
            cafile=bundle if bundle is not None and bundle.is_file() else None,
            capath=bundle if bundle is not None and not bundle.is_file() else None,
        )
        if bundle is not None and not bundle.exists():
            raise FileNotFoundError(2, "no such file")
    except OSError as error:
        raise UsageError(
            f"the CA bundle {bundle} cannot be used: {error.strerror or error}",
            advice="-v names a file of certificates in PEM; it is not 'verbose'",
        ) from error
    for authority in kept.authorities if bundle is None else ():
        try:
            context.load_verify_locations(authority)
        except OSError as error:
            raise UsageError(f"the CA certificate {authority} cannot be used: {error.strerror or error}") from error
    if options.verify is False or options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    pairs = kept.pairs if options.client_cert is None else (ClientPair(options.client_cert, options.client_key),)
    for pair in pairs:
        _load_pair(context, pair)
    return context


def _load_pair(context: ssl.SSLContext, pair: ClientPair) -> None:
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        raise UsageError(
            f"the client certificate {pair.certificate} cannot be used: {reason}",
            advice="-cert is a certificate in PEM, with its key in the same file or in -key, without a passphrase",
        ) from error


def _no_password() -> str:
    raise ValueError("its key has a passphrase")


def _proxy(address: RegistryAddress) -> str | None:
    """The proxy for this address from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), by curl's rules."""
    is_system_wide = sys.platform in ("darwin", "win32")  # where settings of the system count, too
    if address.is_loopback or not (is_system_wide or any(name.lower().endswith("_proxy") for name in os.environ)):
        return None
    import urllib.request  # with http.client, which is not needed otherwise

    if urllib.request.proxy_bypass(address.netloc):
        return None
    return urllib.request.getproxies().get(address.scheme)

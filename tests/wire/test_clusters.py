"""What Kubernetes clusters run, asked of their API: discovery, lists, logins, and what refuses the run."""

from __future__ import annotations

import base64
import json
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from dregutil.clusters.discovery import groups_in, kinds_in, to_ask
from dregutil.clusters.kubeconfig import access_to
from dregutil.clusters.objects import as_document
from dregutil.clusters.read import read_clusters
from dregutil.errors import RefusedError
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import RegistryAddress
from dregutil.retention.asked import Kubernetes
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, images_in
from servers.http import Answer, Endpoint, Request
from servers.kubernetes import KubernetesServer, helm_release, kubeconfig, pod

HOST = "registry.example.com"
SECRET = "hunter2-secret"


@pytest.fixture
def cluster() -> Iterator[KubernetesServer]:
    with KubernetesServer() as server:
        server.objects["pods"] = [pod(f"{HOST}/shop/web:1.0")]
        yield server


def environment(
    tmp_path: Path, cluster: Endpoint, user: Mapping[str, Any] | None = None, more: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """A kubeconfig with one context, `prod`; `more` is of its cluster."""
    return {"KUBECONFIG": str(kubeconfig(tmp_path / "config", {"prod": cluster.url}, user, more))}


async def read(env: Mapping[str, str], **more: Any) -> ListFile:
    (file,) = await read_clusters(Kubernetes(**more), env)
    return file


def named(file: ListFile) -> set[str]:
    """The images of this registry that a list protects, as `repository:tag`."""
    found = images_in(file, registry_hosts(RegistryAddress.parse(HOST), ())).entries
    return {f"{one.repository}:{one.tag}" for entry in found for one in entry.names if one.host == HOST}


async def refused(env: Mapping[str, str], *words: str, **more: Any) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        await read(env, **more)
    assert raised.value.exit_code == 5
    for word in words:
        assert word in raised.value.message
    assert SECRET not in f"{raised.value} {raised.value.advice} {raised.value.__cause__!r}"
    return raised.value


async def test_every_kind_that_can_name_images_is_asked(cluster: KubernetesServer, tmp_path: Path) -> None:
    def template(tag: str) -> dict[str, Any]:
        return {"metadata": {"name": tag}, "spec": {"template": pod(f"{HOST}/shop/web:{tag}")}}

    for kind in ("podtemplates", "replicationcontrollers", "deployments.apps", "replicasets.apps", "jobs.batch"):
        cluster.objects[kind] = [template(kind)]
    cluster.objects["cronjobs.batch"] = [{"spec": {"jobTemplate": {"spec": template("cronjobs.batch")}}}]
    cluster.objects["controllerrevisions.apps"] = [{"data": {"spec": template("controllerrevisions.apps")}}]
    cluster.objects["rollouts.argoproj.io"] = [template("rollouts.argoproj.io")]
    cluster.objects["nodes"] = [{"status": {"images": [{"names": [f"{HOST}/shop/web:cached"], "sizeBytes": 1}]}}]
    file = await read(environment(tmp_path, cluster))
    assert {tag.partition(":")[2] for tag in named(file)} == {"1.0", "cached", *cluster.objects} - {"pods", "nodes"}
    lists = [path.partition("?")[0] for path in cluster.asked if "limit=" in path]
    assert len(lists) == len(set(lists))
    assert not [path for path in lists if "configmaps" in path or "ingresses" in path]
    assert file.name == "kubernetes prod"


async def test_the_role_among_the_examples_permits_what_is_asked(cluster: KubernetesServer, tmp_path: Path) -> None:
    role = yaml.safe_load((Path(__file__).parents[2] / "examples" / "kubernetes" / "cluster-role.yaml").read_text())
    allowed = {
        (group, resource) for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
    }
    cluster.objects["tasks.tekton.dev"] = [pod(f"{HOST}/shop/web:2.0")]
    await read(environment(tmp_path, cluster))
    paths = [path.partition("?")[0].split("/") for path in cluster.asked if "limit=" in path]
    asked = {("", parts[3]) if parts[1] == "api" else (parts[2], parts[4]) for parts in paths}
    assert len(asked) == 11
    assert [one for one in asked if one not in allowed and (one[0], "*") not in allowed] == []
    assert {rule_verb for rule in role["rules"] for rule_verb in rule["verbs"]} == {"list"}
    assert ("", "*") not in allowed


async def test_the_cache_of_a_node_does_not_suffice(cluster: KubernetesServer, tmp_path: Path) -> None:
    from dregutil.retention.in_use import find_in_use, refuse_caches_alone
    from dregutil.retention.policy import ParsedProtect

    cluster.objects = {"nodes": [{"status": {"images": [{"names": [f"{HOST}/shop/web:1.0"], "sizeBytes": 1}]}}]}
    file = await read(environment(tmp_path, cluster))
    address = RegistryAddress.parse(HOST)
    inventory = Inventory({"shop/web": {"1.0": f"sha256:{'0' * 64}"}})  # type: ignore[dict-item]
    images = images_in(file, registry_hosts(address, ()))
    _, reports = find_in_use(ParsedProtect(), [(file, images)], inventory, address)
    with pytest.raises(RefusedError):
        refuse_caches_alone(reports)


async def test_a_list_is_read_to_its_last_page(cluster: KubernetesServer, tmp_path: Path) -> None:
    cluster.objects["pods"] = [pod(f"{HOST}/shop/web:{number}") for number in range(7)]
    cluster.page = 2
    assert named(await read(environment(tmp_path, cluster))) == {f"shop/web:{number}" for number in range(7)}


async def test_a_list_whose_pages_expire_is_begun_again(cluster: KubernetesServer, tmp_path: Path) -> None:
    cluster.objects["pods"] = [pod(f"{HOST}/shop/web:{number}") for number in range(5)]
    cluster.page, cluster.expired = 2, 2
    assert len(named(await read(environment(tmp_path, cluster)))) == 5
    cluster.expired = 1_000
    await refused(environment(tmp_path, cluster), "kubernetes prod", "pods", "410")
    assert cluster.expired == 997


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/api/v1/nodes", "nodes"),
        ("/apis/batch/v1/cronjobs", "cronjobs.batch"),
        ("/apis/tekton.dev/v1/pipelines", "pipelines.tekton.dev"),
        ("/apis/tekton.dev/v1", "tekton.dev"),
        ("/apis", "the API groups"),
        ("/api", "the API versions"),
    ],
)
async def test_an_answer_that_is_no_list_refuses(
    cluster: KubernetesServer, tmp_path: Path, status: int, path: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dregutil.clusters.client._LONGEST_WAIT", 0.0)
    cluster.objects["pipelines.tekton.dev"] = [pod(f"{HOST}/shop/web:2.0")]
    cluster.failures_of[path] = status
    await refused(environment(tmp_path, cluster, {"token": SECRET}), "kubernetes prod", what, str(status))


@pytest.mark.parametrize("path", ["/api/v1/pods", "/apis", "/apis/apps/v1"])
async def test_an_answer_that_is_cut_short_refuses(cluster: KubernetesServer, tmp_path: Path, path: str) -> None:
    cluster.cut.add(path)
    await refused(environment(tmp_path, cluster), "kubernetes prod")


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b"{}", b'{"kind": "Status", "status": "Success"}'])
async def test_another_server_refuses(body: bytes, tmp_path: Path) -> None:
    class Other(Endpoint):
        def answer(self, request: Request) -> Answer:
            return Answer(200, body)

    with Other() as server:
        await refused(environment(tmp_path, server), "kubernetes prod")


async def test_a_list_that_is_no_list_refuses(cluster: KubernetesServer, tmp_path: Path) -> None:
    class Odd(KubernetesServer):
        def _list(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
            return {"kind": "Status"} if name == "nodes" else super()._list(name, query)

    with Odd() as server:
        await refused(environment(tmp_path, server), "nodes", "not a list")


async def test_a_cluster_that_does_not_answer_refuses(tmp_path: Path) -> None:
    cluster = KubernetesServer()
    with cluster:
        env = environment(tmp_path, cluster, {"token": SECRET})
    await refused(env, "kubernetes prod")


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    class Moved(Endpoint):
        def answer(self, request: Request) -> Answer:
            return Answer(302, headers={"Location": "http://127.0.0.1:1/"})

    with Moved() as server:
        await refused(environment(tmp_path, server, {"token": SECRET}), "302")


async def test_kinds_that_are_ignored_are_not_asked_for(cluster: KubernetesServer, tmp_path: Path) -> None:
    cluster.objects |= {
        "pipelines.tekton.dev": [pod(f"{HOST}/shop/web:2.0")],
        "tasks.tekton.dev": [pod(f"{HOST}/shop/web:3.0")],
        "things.down.example.com": [],
    }
    cluster.failures_of |= {
        "/apis/tekton.dev/v1/pipelines": 403,
        "/apis/down.example.com/v1": 503,
        "/api/v1/secrets": 403,
    }
    ignore = ("Pipeline.tekton.dev", "*.down.example.com", "secrets")
    file = await read(environment(tmp_path, cluster), ignore=ignore)
    assert named(file) == {"shop/web:1.0", "shop/web:3.0"}


async def test_what_has_ended_is_left_out_where_the_policy_says_so(cluster: KubernetesServer, tmp_path: Path) -> None:
    def job(tag: str, kind: str, status: str) -> dict[str, Any]:
        conditions = [{"type": kind, "status": status}]
        return {"spec": {"template": pod(f"{HOST}/shop/web:{tag}")}, "status": {"conditions": conditions}}

    cluster.objects["pods"] = [
        pod(f"{HOST}/shop/web:{phase}", phase=phase) for phase in ("Running", "Pending", "Succeeded", "Failed")
    ]
    cluster.objects["jobs.batch"] = [
        job("complete", "Complete", "True"),
        job("failed", "Failed", "True"),
        job("not-yet", "Complete", "False"),
        job("suspended", "Suspended", "True"),
    ]
    env = environment(tmp_path, cluster)
    running = {"shop/web:Running", "shop/web:Pending", "shop/web:not-yet", "shop/web:suspended"}
    assert named(await read(env, finished=False)) == running
    ended = {"shop/web:Succeeded", "shop/web:Failed", "shop/web:complete", "shop/web:failed"}
    assert named(await read(env)) == running | ended


async def test_the_releases_that_helm_stores_are_read(cluster: KubernetesServer, tmp_path: Path) -> None:
    manifest = f"---\n# Source: web/templates/d.yaml\nkind: Deployment\nspec: {{image: '{HOST}/shop/web:2.0'}}\n"
    values = {"image": {"repository": f"{HOST}/shop/api", "tag": "3.0"}}
    cluster.objects["secrets"] = [
        helm_release(manifest, values=values),
        {"metadata": {"name": "password"}, "type": "Opaque", "data": {"p": base64.b64encode(SECRET.encode()).decode()}},
    ]
    file = await read(environment(tmp_path, cluster))
    assert named(file) == {"shop/web:1.0", "shop/web:2.0", "shop/api:3.0"}
    assert SECRET not in file.text
    (asked,) = (path for path in cluster.asked if "/secrets" in path)
    assert "fieldSelector=type%3Dhelm.sh/release.v1" in asked or "fieldSelector=type=helm.sh/release.v1" in asked


def test_no_other_secret_is_read_even_if_a_server_lists_it() -> None:
    other = {"type": "Opaque", "data": {"release": helm_release("kind: Pod\n")["data"]["release"]}}
    assert json.loads(as_document("secrets", [other], finished=True))["items"] == []


def test_a_kind_of_several_versions_is_asked_for_once_and_in_the_preferred_one() -> None:
    versions = [{"version": "v1beta1"}, {"version": "v1"}]
    groups = {"groups": [{"name": "batch", "versions": versions, "preferredVersion": {"version": "v1"}}]}
    places = groups_in({"versions": ["v1"]}, groups, ())
    assert places == [("", "v1"), ("batch", "v1"), ("batch", "v1beta1")]
    answers = {"v1": ["jobs"], "v1beta1": ["jobs", "cronjobs"]}  # as on Kubernetes 1.20
    found = [
        kind
        for group, version in places[1:]
        for kind in kinds_in(group, version, {"resources": [{"name": n, "verbs": ["list"]} for n in answers[version]]})
    ]
    assert [kind.path for kind in to_ask(found, ())] == ["/apis/batch/v1/jobs", "/apis/batch/v1beta1/cronjobs"]


@pytest.mark.parametrize("release", ["", "%%%", base64.b64encode(b"no release").decode(), None, "half", "end"])
async def test_a_release_that_cannot_be_read_refuses(
    cluster: KubernetesServer, tmp_path: Path, release: str | None
) -> None:
    secret = helm_release("kind: Pod\n" * 100)
    whole = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    kept = {"half": len(whole) // 2, "end": len(whole) - 8}.get(release or "")  # gzip ends with a sum and a length
    secret["data"]["release"] = base64.b64encode(base64.b64encode(whole[:kept])).decode() if kept else release
    cluster.objects["secrets"] = [secret]
    await refused(environment(tmp_path, cluster), "secrets", "shop/sh.helm.release.v1.web.v1")


async def test_a_template_of_a_custom_resource_is_listed(cluster: KubernetesServer, tmp_path: Path) -> None:
    cluster.objects["tasks.tekton.dev"] = [{"spec": {"image": "$(params.image)"}}, pod(f"{HOST}/shop/web:$(tag)")]
    found = images_in(
        await read(environment(tmp_path, cluster)), registry_hosts(RegistryAddress.parse(HOST), ())
    ).doubtful
    assert next(entry.text for entry in found) == "$(params.image)"
    assert any(entry.text.startswith(f"{HOST}/shop/web:") for entry in found)


# Logins


async def test_a_token_and_a_token_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    with KubernetesServer(token=SECRET) as cluster:
        cluster.objects["pods"] = [pod(f"{HOST}/shop/web:1.0")]
        for user in ({"token": SECRET}, {"tokenFile": "token"}, {"tokenFile": "token", "token": "old"}):
            assert named(await read(environment(tmp_path, cluster, user)))
        await refused(environment(tmp_path, cluster, {"token": f"{SECRET}-old"}), "401")


async def test_a_user_and_a_password(cluster: KubernetesServer, tmp_path: Path) -> None:
    await read(environment(tmp_path, cluster, {"username": "me", "password": SECRET}))
    assert base64.b64decode(cluster.login.removeprefix("Basic ")).decode() == f"me:{SECRET}"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def with_tls(authority: trustme.CA, name: str = "127.0.0.1", *, clients: bool = False) -> KubernetesServer:
    cluster = KubernetesServer()
    cluster.objects["pods"] = [pod(f"{HOST}/shop/web:1.0")]
    cluster.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(cluster.tls)
    if clients:
        authority.configure_trust(cluster.tls)
        cluster.tls.verify_mode = ssl.CERT_REQUIRED
    return cluster


async def test_the_server_must_be_the_one_that_the_authority_vouches_for(authority: trustme.CA, tmp_path: Path) -> None:
    ca = authority.cert_pem.bytes()
    (tmp_path / "ca.pem").write_bytes(ca)
    data = {"certificate-authority-data": base64.b64encode(ca).decode()}
    with with_tls(authority) as cluster:
        assert named(await read(environment(tmp_path, cluster, more=data)))
        assert named(await read(environment(tmp_path, cluster, more={"certificate-authority": "ca.pem"})))
        assert named(await read(environment(tmp_path, cluster, more={"insecure-skip-tls-verify": True})))
        await refused(environment(tmp_path, cluster, {"token": SECRET}), "TLS")
        assert cluster.login == ""
    with with_tls(authority, "api.internal") as cluster:
        await refused(environment(tmp_path, cluster, more=data), "TLS")
        assert named(await read(environment(tmp_path, cluster, more={**data, "tls-server-name": "api.internal"})))


async def test_a_client_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    mine = authority.issue_cert("me@example.com")
    certificate, key = mine.cert_chain_pems[0].bytes(), mine.private_key_pem.bytes()
    (tmp_path / "me.crt").write_bytes(certificate)
    (tmp_path / "me.key").write_bytes(key)
    ca = {"certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode()}
    users = [
        {"client-certificate": "me.crt", "client-key": str(tmp_path / "me.key")},
        {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(key).decode(),
        },
    ]
    with with_tls(authority, clients=True) as cluster:
        for user in users:
            assert named(await read(environment(tmp_path, cluster, user, ca)))
        await refused(environment(tmp_path, cluster, more=ca))
        await refused(environment(tmp_path, cluster, {"client-certificate": "me.crt"}, ca), "certificates")


async def test_a_login_is_not_sent_without_tls(tmp_path: Path) -> None:
    env = {"KUBECONFIG": str(kubeconfig(tmp_path / "c", {"prod": "http://api.example.com"}, {"token": SECRET}))}
    await refused(env, "without TLS")


async def test_the_proxy_of_the_environment(
    cluster: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", cluster.url)  # as a proxy, it is sent whole addresses
    monkeypatch.setattr(cluster, "answer", lambda request: Answer(418, request.target.encode()))
    env = {"KUBECONFIG": str(kubeconfig(tmp_path / "config", {"prod": "http://api.example.com"}))}
    await refused(env, "418")


def plugin(tmp_path: Path, status: Mapping[str, Any] | None, *, code: int = 0, version: str = "v1") -> dict[str, Any]:
    """A user with a credential plugin, which notes what it was given in `given`."""
    api = f"client.authentication.k8s.io/{version}"
    printed = json.dumps({"kind": "ExecCredential", "apiVersion": api, "status": status})
    (tmp_path / "plugin").write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(tmp_path / 'given')!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'] + os.environ['MORE'])\n"
        f"print({printed!r} if sys.argv[1:] == ['get', 'it'] else 'wrong arguments')\n"
        f"print({SECRET!r}, file=sys.stderr)\nsys.exit({code})\n"
    )
    (tmp_path / "plugin").chmod(0o700)
    variables = [{"name": "MORE", "value": "more"}]
    fields = {"apiVersion": api, "command": "./plugin", "args": ["get", "it"], "env": variables}
    return {"exec": {**fields, "interactiveMode": "Never", "provideClusterInfo": True}}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_credential_plugin(tmp_path: Path, version: str, capfd: pytest.CaptureFixture[str]) -> None:
    with KubernetesServer(token=SECRET) as cluster:
        cluster.objects["pods"] = [pod(f"{HOST}/shop/web:1.0")]
        status = {"token": SECRET, "expirationTimestamp": "2999-01-01T00:00:00Z"}
        assert named(await read(environment(tmp_path, cluster, plugin(tmp_path, status, version=version))))
        given = (tmp_path / "given").read_text()
        assert cluster.url in given
        assert given.endswith("more")
    assert SECRET not in "".join(capfd.readouterr())


async def test_a_credential_plugin_that_prints_a_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    mine = authority.issue_cert("me@example.com")
    status = {
        "clientCertificateData": mine.cert_chain_pems[0].bytes().decode(),
        "clientKeyData": mine.private_key_pem.bytes().decode(),
    }
    ca = {"certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode()}
    with with_tls(authority, clients=True) as cluster:
        assert named(await read(environment(tmp_path, cluster, plugin(tmp_path, status), ca)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": {"token": SECRET, "expirationTimestamp": "2020-01-01T00:00:00Z"}}, "expired"),
        ({"status": {"token": SECRET, "expirationTimestamp": "soon"}}, "not a time"),
        ({"status": {"token": ""}}, "neither a token"),
        ({"status": None}, "neither a token"),
        ({"status": {"token": SECRET}, "code": 3}, "exit status 3"),
        ({"status": {"token": SECRET}, "version": "v1alpha1"}, "v1alpha1"),
    ],
)
async def test_a_credential_plugin_that_fails_refuses(
    cluster: KubernetesServer, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    await refused(environment(tmp_path, cluster, plugin(tmp_path, **change)), "kubernetes prod", why)
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"command": "no-such-plugin", "installHint": "install it"}, "install it"),
        ({"command": "./plugin", "interactiveMode": "Always"}, "terminal"),
        ({"command": "./plugin", "args": ["other"]}, "no ExecCredential"),
    ],
)
async def test_a_credential_plugin_that_cannot_be_used_refuses(
    cluster: KubernetesServer, tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    user = plugin(tmp_path, {"token": SECRET})
    user["exec"] |= fields
    await refused(environment(tmp_path, cluster, user), why)


async def test_in_a_cluster_without_a_kubeconfig(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(SECRET)
    (folder / "ca.crt").write_bytes(authority.cert_pem.bytes())
    with with_tls(authority) as cluster:
        cluster.token = SECRET
        env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port), "HOME": "/none"}
        (file,) = await read_clusters(Kubernetes(), env, folder)
        assert named(file) == {"shop/web:1.0"}
        with pytest.raises(RefusedError, match="no context 'prod'"):
            await read_clusters(Kubernetes(contexts=["prod"]), env, folder)
        (folder / "token").unlink()
        with pytest.raises(RefusedError, match="token cannot be read"):
            await read_clusters(Kubernetes(), env, folder)
    with pytest.raises(RefusedError, match="does not run in a cluster"):
        await read_clusters(Kubernetes(), {"HOME": "/none"}, folder)


# Kubeconfig files


def test_several_files_are_merged_as_kubectl_does(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "token").write_text("of one")
    first = kubeconfig(tmp_path / "one" / "config", {"prod": "https://one"}, {"tokenFile": "token"})
    second = kubeconfig(tmp_path / "two", {"stage": "https://two", "prod": "https://never"}, {"token": "never"})
    env = {"KUBECONFIG": f"{tmp_path / 'missing'}:{first}:{second}"}
    assert access_to(None, env).server == "https://one"
    assert access_to("stage", env).server == "https://two"
    assert access_to("stage", env).token == "of one"
    assert SECRET not in repr(access_to("prod", env))


def test_the_file_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", {"prod": "https://one"})
    assert access_to(None, {"HOME": str(tmp_path)}).server == "https://one"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda it: it["clusters"][0]["cluster"].update({"proxy-url": "socks5://p"}), "proxy-url"),
        (lambda it: it["clusters"][0]["cluster"].update(server="api"), "no address"),
        (lambda it: it["clusters"][0]["cluster"].update({"certificate-authority-data": SECRET + "!"}), "base64"),
        (lambda it: it["clusters"][0]["cluster"].update({"certificate-authority": "missing.pem"}), "missing.pem"),
        (lambda it: it["users"][0]["user"].update({"as": "admin"}), "'as'"),
        (lambda it: it["users"][0]["user"].update({"auth-provider": {"name": "gcp"}}), "auth-provider"),
        (lambda it: it["users"][0].update(name="other"), "'someone'"),
        (lambda it: it["contexts"][0].update(name="other"), "'prod'"),
        (lambda it: it.pop("current-context"), "no current context"),
    ],
)
def test_what_is_missing_or_not_supported_is_named(tmp_path: Path, change: Any, why: str) -> None:
    path = kubeconfig(tmp_path / "config", {"prod": "https://one"}, {"token": SECRET})
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(RefusedError) as raised:
        access_to(None, {"KUBECONFIG": str(path)})
    assert why in raised.value.message
    assert SECRET not in raised.value.message


def test_a_file_that_is_no_yaml_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"token: {{{SECRET}")
    with pytest.raises(RefusedError, match="is not YAML") as raised:
        access_to(None, {"KUBECONFIG": str(tmp_path / "config")})
    assert SECRET not in str(raised.value)

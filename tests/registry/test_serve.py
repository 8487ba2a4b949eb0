"""`dregutil serve` over a real registry: what it reads, what it shows, how it ends."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

from dregutil.serve.endpoints import ENDPOINTS
from images import Pusher, created
from listening import until
from program import Program
from servers import DistributionServer, find_program
from serving import Serving

SECRET = "3bcc-w0rd"
READ = [path for method, path in ENDPOINTS if method == "GET" and not path.endswith("/events")]


def test_the_report_is_made_in_the_background_and_shown(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("shop/web", "1.0", seed="a", config=created(90))
    program = Program(registry_server.url, tmp_path)
    with Serving(program) as serving:
        report = serving.report()
        assert (report["kind"], report["plan"]) == ("report", None)
        session = serving.get("session").json
        assert session["registry"] == registry_server.url.removeprefix("http://")
        assert session["roles"] == ["viewer", "planner", "approver"]
        pusher.push_image("shop/web", "1.1", seed="b", config=created(90))
        assert serving.job(serving.post("refresh"))["state"] == "done"
    with Serving(program) as serving:
        assert serving.get("report").status == 200, "it is kept on the disk"


def test_a_login_reaches_the_jobs_and_no_answer_no_log_and_no_file(tmp_path: Path) -> None:
    config = "[registries.reg]\naddress = '{url}'\nuser = 'me'\npassword_command = 'sh -c \"printf %s 3bcc-w0rd\"'\n"
    hashed = subprocess.run(
        [find_program("htpasswd"), "-nbB", "me", SECRET], check=True, capture_output=True, text=True
    )
    (tmp_path / "users").write_text(hashed.stdout)
    auth = f"auth: {{htpasswd: {{realm: r, path: {tmp_path / 'users'}}}}}"
    with DistributionServer(tmp_path / "registry", auth=auth) as server:
        coded = base64.b64encode(f"me:{SECRET}".encode()).decode()
        with Pusher(server.url, {"Authorization": f"Basic {coded}"}) as pusher:
            pusher.push_image("shop/web", "1.0", seed="a")
        (tmp_path / "config.toml").write_text(config.format(url=server.url))
        (tmp_path / "config.toml").chmod(0o600)
        ways: list[tuple[tuple[str, ...], dict[str, str]]] = [
            (("-u", "me", "-p", SECRET), {}),
            (("-u", "me"), {"REGISTRY_PASSWORD": SECRET}),
            (("-reg", "reg", "--config", "config.toml"), {}),
            (("-u", "me", "-p", "wr0ng-w0rd"), {}),
        ]
        for number, (options, environment) in enumerate(ways):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "config.toml").write_bytes((tmp_path / "config.toml").read_bytes())
            with Serving(Program(server.url, folder), options, environment) as serving:
                until(lambda: not serving.get("jobs").json["jobs"] or serving.jobs_have_ended())
                if "wr0ng-w0rd" in options:
                    assert "'me'" in serving.get("jobs").json["jobs"][-1]["message"]
                else:
                    assert serving.report()["read"]
                (folder / "config.toml").unlink()
                told = [serving.get(re.sub(r"\{\w+\}", "x", path)).body for path in READ] + [serving.log.encode()]
            told += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
            for secret in (SECRET, coded, "wr0ng-w0rd"):
                assert not [one for one in told if secret.encode() in one]

"""The configuration file: which registry a name means, what is in force, and where the cache is."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from configured import ASKING, USER, Guarded, Machine, prod
from dregutil.cli.configurable import OPTIONS, Place
from program import PROGRAM, run_on_terminal

POLICY = "version: 1\npolicies: [{name: all, repositories: ['shop/*'], keep: {last: 1}}]"


# --- which registry


def test_a_name_the_variable_and_the_default_name_a_registry(
    machine: Machine, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write(prod(guarded.url))
    for arguments in ((), ("-reg", "prod"), ("-reg", guarded.url)):
        assert machine.run(*arguments, "-c", "None", "list-repo-names").out == "shop/web\n"
    monkeypatch.setenv("REGISTRY", "prod")
    assert machine.run("-c", "None", "list-repo-names").out == "shop/web\n"
    monkeypatch.setenv("REGISTRY", "127.0.0.1:1")
    assert machine.run("-c", "None", "list-repo-names").code == 6
    assert machine.run("-reg", "prod", "-c", "None", "list-repo-names").code == 0


def test_a_name_in_the_file_comes_before_a_host_of_that_name_and_that_is_noted(
    machine: Machine, guarded: Guarded
) -> None:
    machine.write(prod(guarded.url).replace("registries.prod", "registries.localhost").replace('"prod"', '"localhost"'))
    found = machine.run("-reg", "localhost", "list-repo-names")
    assert (found.out, found.err) == ("shop/web\n", f"localhost is {guarded.host}\n")
    assert machine.run("-reg", "localhost", "--quiet", "--refresh", "list-repo-names").err == ""
    assert machine.run("--refresh", "list-repo-names").err == ""  # the default: no name that could be a host


def test_a_name_that_is_not_in_the_file_is_a_host_and_the_nearest_name_is_noted(machine: Machine) -> None:
    machine.write(prod("127.0.0.1:1"))
    found = machine.run("-reg", "prdo", "--timeout", "5", "list-repo-names")
    assert found.code == 6
    assert found.err.startswith("prdo is not in the configuration file (did you mean prod?)\n")


def test_without_a_default_no_registry_is_chosen(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url, top=""))
    found = machine.run("list-repo-names")
    assert found.code == 2
    assert "default of the configuration file" in found.err


def test_a_plan_goes_to_the_default_only_if_it_is_for_that_registry(machine: Machine, guarded: Guarded) -> None:
    """A plan's file never chooses where credentials go."""
    machine.write(prod(guarded.url))
    remove = ("remove-tags", "-r", "shop/web", "-t", "1.0", "--plan-out", "plan.jsonl")
    assert machine.run(*remove).code == 0
    machine.write(prod("127.0.0.1:1"))
    refused = machine.run("apply", "plan.jsonl", "-y")
    assert refused.code == 5
    assert "127.0.0.1:1" in refused.err
    machine.write(prod(guarded.url))
    assert machine.run("apply", "plan.jsonl", "-y").code == 0
    assert "1.0" not in (guarded.repositories["shop/web"].tags or ())


def test_a_run_is_undone_with_the_login_of_the_registry_that_has_its_address(
    machine: Machine, guarded: Guarded
) -> None:
    machine.write(prod(guarded.url, f'user = "{USER}"', 'password_command = "./asking once"', top=""))
    machine.program("asking", ASKING)
    guarded.closed = True
    assert machine.run("-reg", "prod", "remove-tags", "-r", "shop/web", "-t", "1.0").code == 0
    (removal,) = json.loads(machine.run("history", "--format", "json").out)
    found = machine.run("undo", removal["run"], "-y")
    assert found.code == 0, found.err
    assert "1.0" in (guarded.repositories["shop/web"].tags or ())
    machine.write(machine.file.read_text() + f'[registries.admin]\naddress = "{guarded.url}"\n')
    assert "prod and admin have that address" in machine.run("undo", removal["run"], "-y").err


def test_a_run_whose_registry_is_not_known_is_not_of_the_default(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url))
    assert machine.run("remove-tags", "-r", "shop/web", "-t", "1.0").code == 0
    (removal,) = json.loads(machine.run("history", "--format", "json").out)
    (journal,) = machine.here.parent.glob("state/dregutil/runs/*/journal.jsonl")
    journal.write_text(journal.read_text().replace('"registry":"', '"registry":"x', 1))  # its checksum is wrong now
    for command in (("undo", removal["run"], "-y"), ("apply", "--resume", removal["run"], "-y")):
        found = machine.run(*command)
        assert found.code != 0
        assert "no registry was named" in found.err or "damaged" in found.err, found.err
    assert "1.0" not in (guarded.repositories["shop/web"].tags or ())
    assert machine.run("-reg", "prod", "undo", removal["run"], "-y").code == 3
    assert "1.0" in (guarded.repositories["shop/web"].tags or ())


def test_advice_repeats_the_name_as_it_was_typed(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url))
    remove = ("remove-tags", "-r", "shop/web", "-t", "1.0", "--plan-out", "plan.jsonl")
    assert "`dregutil apply plan.jsonl -reg prod`" in machine.run("-reg", "prod", *remove).err
    assert "`dregutil apply plan.jsonl`" in machine.run(*remove).err
    other = machine.run("--config", str(machine.file), *remove).err
    assert f"`dregutil apply plan.jsonl --config {machine.file}`" in other


def test_history_lists_the_runs_of_all_registries_whatever_the_default_is(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod("127.0.0.1:1"))
    assert machine.run("-reg", guarded.url, "remove-tags", "-r", "shop/web", "-t", "1.0").code == 0
    assert len(json.loads(machine.run("history", "--format", "json").out)) == 1
    assert json.loads(machine.run("-reg", "prod", "history", "--format", "json").out) == []


def test_a_policy_is_checked_against_a_registry_by_its_name(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url))
    Path("policy.yml").write_text(POLICY)
    found = machine.run("policy", "check", "policy.yml", "--against", "prod")
    assert found.code == 0
    assert found.out.endswith(f"against {guarded.host}\n")
    assert machine.run("-reg", "prod", "policy", "check", "policy.yml", "--against", "prod").code == 0
    assert machine.run("-reg", "prod", "policy", "check", "policy.yml", "--against", "127.0.0.1:1").code == 2


def test_a_policy_is_checked_against_what_is_there_now(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url))
    Path("policy.yml").write_text(POLICY)
    assert machine.run("list-repo-names").code == 0
    guarded.stop()
    assert machine.run("list-repo-names").code == 0  # from the cache
    assert machine.run("policy", "check", "policy.yml", "--against", "prod").code == 6


# --- what is in force


def test_flags_beat_the_environment_and_the_environment_beats_the_file(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write(prod("a.example.com", "concurrency = 3", "timeout = 7", 'verify = "ca.pem"'))
    shown = machine.shown()
    assert shown["concurrency"] == {"key": "concurrency", "value": 3, "source": "file", "where": str(machine.file)}
    assert shown["timeout"]["value"] == 7.0
    assert shown["verify"]["value"] == str(machine.folder / "ca.pem")  # relative to the file
    assert shown["insecure"] == {"key": "insecure", "value": False, "source": "default", "where": None}
    monkeypatch.setenv("DREGUTIL_CONCURRENCY", "5")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ca.pem")
    shown = machine.shown("--timeout", "9")
    assert [(shown[key]["value"], shown[key]["source"], shown[key]["where"]) for key in ("concurrency", "verify")] == [
        (5, "environment", "DREGUTIL_CONCURRENCY"),
        ("/etc/ca.pem", "environment", "REQUESTS_CA_BUNDLE"),
    ]
    assert (shown["timeout"]["value"], shown["timeout"]["where"]) == (9.0, "--timeout")
    assert machine.shown("--concurrency", "6")["concurrency"]["source"] == "flag"


def test_a_registry_named_by_its_host_takes_nothing_of_the_file_but_preferences(machine: Machine) -> None:
    machine.write(prod("a.example.com", "concurrency = 3", 'user = "robot"', top='default = "prod"\ncolor = "never"'))
    shown = machine.shown("-reg", "a.example.com")
    assert shown["concurrency"]["source"] == shown["user"]["source"] == "default"
    assert shown["color"]["value"] == "never"


def test_every_key_of_a_registry_is_shown_with_its_value(machine: Machine) -> None:
    values = {
        "user": '"robot"', "password_command": '"pass show robot"', "digest_auth": "true", "client_cert": '"c.pem"',
        "client_key": '"/k.pem"', "verify": "false", "insecure": "true", "cache": "false", "use_get_manifest": "true",
        "concurrency": "2", "timeout": "1.5", "repositories_from": '"names"', "storage": '"s3://bucket/registry"',
        "policy": '"p.yml"', "aliases": '["b.example.com"]', "confirm": '"always"',
        "api": '"https://n.example.com"', "api_repository": '"docker-hosted"',
        "report": '"report"', "team_label": '"owner"', "metrics": '"/m.prom"', "notify": '"https://hooks/s3cret"',
        "notify_file": "false", "notify_format": '"slack"',
    }  # fmt: skip
    assert values.keys() == {option.name for option in OPTIONS if option.place is Place.REGISTRY}
    machine.write(prod("a.example.com", *(f"{key} = {value}" for key, value in values.items())))
    shown = {key: row["value"] for key, row in machine.shown().items() if row["source"] == "file"}
    folder = machine.folder
    assert shown == {
        "registry": "prod", "address": "a.example.com", "user": "robot", "password": "from password_command",
        "password_command": "pass …", "digest_auth": True, "client_cert": str(folder / "c.pem"),
        "client_key": "/k.pem", "verify": False, "insecure": True, "cache": False, "use_get_manifest": True,
        "concurrency": 2, "timeout": 1.5, "repositories_from": str(folder / "names"),
        "storage": "s3://bucket/registry", "policy": str(folder / "p.yml"), "aliases": ["b.example.com"],
        "confirm": "always", "api": "https://n.example.com", "api_repository": "docker-hosted",
        "report": str(folder / "report"), "team_label": "owner", "metrics": "/m.prom", "notify": "set",
        "notify_file": None, "notify_format": "slack",
    }  # fmt: skip


def test_no_secret_is_shown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write(prod("a.example.com", 'user = "robot"', 'password_command = "echo s3cret"'))
    monkeypatch.setenv("REGISTRY_PASSWORD", "s3cret")
    for arguments in ((), ("-p", "s3cret")):
        for form in ("text", "json", "table"):
            found = machine.run(*arguments, "config", "show", "--format", form)
            assert "s3cret" not in found.out + found.err
    assert machine.shown()["password"] == {
        "key": "password",
        "value": "set",
        "source": "environment",
        "where": "REGISTRY_PASSWORD",
    }


def test_another_file_or_none_is_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("what is this")
    Path("mine.toml").write_text(prod("a.example.com"))
    assert machine.shown("--config", "mine.toml")["address"]["where"] == str(machine.here / "mine.toml")
    monkeypatch.setenv("DREGUTIL_CONFIG", "mine.toml")
    assert machine.shown()["address"]["value"] == "a.example.com"
    assert machine.run("config", "path").out == f"{machine.here / 'mine.toml'}\n"
    assert machine.shown("--config", "None")["address"]["value"] is None
    found = machine.run("--config", "absent.toml", "config", "show")
    assert (found.code, "there is no configuration file" in found.err) == (2, True)


def test_completion_works_whatever_the_file_says(machine: Machine) -> None:
    machine.write("what is this")
    assert machine.run("completion", "bash").code == 0
    assert machine.run("history").code == 2


def test_a_registry_can_ask_that_nothing_is_removed_without_y(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url, 'confirm = "always"'))
    remove = ("remove-tags", "-r", "shop/web", "-t", "1.0")
    assert machine.run(*remove).code == 2
    assert machine.run(*remove, "--confirm", "auto").code == 0


def test_the_storage_is_read_where_it_is_needed(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url, 'storage = "nothing"'))
    (machine.folder / "nothing").mkdir()
    found = machine.run("du")
    assert (found.code, f"storage in {machine.folder / 'nothing'}" in found.err) == (3, True)
    assert machine.run("du", "--storage", "None").code == 0
    assert machine.run("list-repo-names").code == 0


def test_an_error_on_a_terminal_is_not_in_color_if_the_file_says_so(
    machine: Machine, guarded: Guarded, tmp_path: Path
) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "200"}
    command = [str(PROGRAM), "inspect", "shop/web:9"]
    for color, is_colored in (("auto", True), ("never", False)):
        machine.write(prod(guarded.url, top=f'default = "prod"\ncolor = "{color}"'))
        code, shown = run_on_terminal(command, machine.here, environment, "")
        assert (code, "\x1b[31m" in shown) == (1, is_colored)


def test_cleanup_and_why_use_the_policy_of_the_registry(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url, 'policy = "policy.yml"', 'aliases = ["other.example.com"]'))
    (machine.folder / "policy.yml").write_text(f"{POLICY}\nprotect: {{in_use: [{{file: in-use.txt}}]}}")
    (machine.folder / "in-use.txt").write_text("other.example.com/shop/web:1.0\n")
    assert "in-use.txt" in machine.run("why", "shop/web:1.0").out  # by an alias of the registry
    assert machine.run("cleanup", "--dry-run").code == 0
    assert machine.run("-reg", guarded.url, "cleanup", "--dry-run").code == 2
    Path("other.yml").write_text(POLICY)
    other = machine.run("why", "shop/web:1.0", "-f", "other.yml")
    assert (other.code, "in-use.txt" in other.out) == (0, False)


# --- the cache


def test_the_cache_of_a_registry_of_the_file_is_in_the_users_cache_folder(
    machine: Machine, guarded: Guarded, tmp_path: Path
) -> None:
    machine.write(prod(guarded.url))
    assert machine.run("list-repo-names").code == 0
    (cache,) = (tmp_path / "cache" / "dregutil").glob("*_cache.json")
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    assert list(machine.here.iterdir()) == []
    guarded.stop()
    assert machine.run("list-repo-names").out == "shop/web\n"
    assert machine.run("-reg", guarded.url, "list-repo-names").code == 6  # by its host: the file in the folder, as ever


def test_a_cache_file_in_the_current_folder_is_used_instead(machine: Machine, guarded: Guarded) -> None:
    machine.write(prod(guarded.url))
    assert machine.run("-reg", guarded.url, "list-repo-names").code == 0
    (cache,) = (one for one in machine.here.iterdir() if one.name.endswith("_cache.json"))
    guarded.stop()
    assert machine.run("list-repo-names").out == "shop/web\n"
    assert machine.shown()["cache"]["value"] == cache.name


def test_on_a_terminal_the_registry_and_its_cache_are_named(machine: Machine, guarded: Guarded, tmp_path: Path) -> None:
    machine.write(prod(guarded.url))
    environment = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "200"}
    _, shown = run_on_terminal([str(PROGRAM), "list-repo-names"], machine.here, environment, "")
    (cache,) = (tmp_path / "cache" / "dregutil").glob("*_cache.json")
    assert f"prod is {guarded.host}; its tags are cached in ~/cache/dregutil/{cache.name}" in shown

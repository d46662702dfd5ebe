"""The command line on a bucket, as users call it: a run is killed there, goes on, and comes home to a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project
    from tests.servers.moto import Moto

pytest.importorskip("s3fs", reason="the s3 extra is not installed: pip install 'actorflow[s3]'")


@pytest.fixture
def bucket(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a bucket, whose server and credentials the environment tells."""
    place = moto.place()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", moto.key),
        ("AWS_SECRET_ACCESS_KEY", moto.secret),
        ("AWS_ENDPOINT_URL", moto.endpoint),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    return place.url


def test_a_run_killed_on_a_bucket_goes_on_there_and_is_exported_to_a_folder(project: Project, bucket: str) -> None:
    """Nothing but the URL is given; what had finished is not run again, and every byte of the copy is sound."""
    (project.folder / "hang").touch()
    with project.start("run", "app:trail", "--id", "r", "--store", bucket) as killed:
        project.reach("second", killed)
        killed.kill()
    (project.folder / "hang").unlink()

    with project.start("resume", "--store", bucket, "r", "app:trail") as process:
        resumed, said = process.communicate()
    listed = project.rows("ls", "--store", bucket)
    exported = project.call("export", "r", "--store", bucket, "--to", "home")
    verified = project.call("verify", "--store", "home")

    assert process.returncode == 0, said
    assert "did not let go of it" in said
    assert json.loads(resumed)["trace"] == ["first", "second"]
    assert project.ran == ["first", "second", "second"]
    assert [(row["id"], row["status"]) for row in listed] == [("r", "finished")]
    assert exported.exit_code == 0, exported.stderr
    assert "everything is as it should be" in verified.stderr
    assert project.rows("show", "r", "--store", "home")[0]["state"]["n"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["resume", "r", "app:trail"],
        ["gc", "--last", "1"],
        ["rekey"],
        ["delete", "r", "--yes"],
        ["verify", "--repair"],
    ],
    ids=lambda words: words[0],
)
def test_a_mistyped_url_makes_no_store(project: Project, moto: Moto, bucket: str, words: list[str]) -> None:
    """Exit 3, with the command that makes one. Planted: whoever opened it made it."""
    from tests.servers.place import buckets_of

    result = project.call(*words, "--store", bucket)

    name, _, folder = bucket.removeprefix("s3://").partition("/")
    with buckets_of(moto.endpoint, moto.key, moto.secret) as client:
        found = client.list_objects_v2(Bucket=name, Prefix=folder)
    assert result.exit_code == 3
    assert "try: actorflow run module:graph, which makes one" in result.stderr
    assert found["KeyCount"] == 0


def test_a_bucket_that_is_not_there_is_said_to_be_made_first(project: Project, bucket: str) -> None:
    """Exit 2: no command makes a bucket."""
    assert bucket

    result = project.call("run", "app:trail", "--store", "s3://nobody-made-this/runs")

    assert result.exit_code == 2
    assert "there is no such bucket" in result.stderr
    assert "make it first" in result.stderr


def test_storage_options_come_as_json_from_a_file_or_a_variable(
    project: Project, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an environment that knows the server: the options alone say where it is."""
    place = moto.place()
    options = json.dumps(place.storage_options)
    (project.folder / "options.json").write_text(options)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)

    ran = project.call("run", "app:trail", "--id", "r", "--store", place.url, "--storage-options", options)
    from_file = project.call("ls", "--json", "--store", place.url, "--storage-options", "@options.json")
    from_variable = project.call("ls", "--json", "--store", place.url, env={"ACTORFLOW_STORAGE_OPTIONS": options})
    home = project.call("import", "r", "--from", place.url, "--from-options", "@options.json", "--store", "home")

    assert ran.exit_code == 0, ran.stderr
    assert json.loads(from_file.stdout)["id"] == json.loads(from_variable.stdout)["id"] == "r"
    assert home.exit_code == 0, home.stderr


@pytest.mark.parametrize("given", ["{", "[1]", '"SECRET"', '{"key": SECRET}', "@missing.json"])
def test_storage_options_that_are_none_are_refused_and_not_shown(project: Project, given: str) -> None:
    """Exit 2, naming the option."""
    result = project.call("ls", "--store", "s3://b/f", "--storage-options", given)

    assert result.exit_code == 2
    assert "--storage-options" in result.stderr
    assert "SECRET" not in result.output


def test_a_folder_takes_no_storage_options(project: Project) -> None:
    """They would have no effect: whoever gives them means another store."""
    result = project.call("run", "app:trail", "--storage-options", '{"key": "SECRET"}')

    assert result.exit_code == 2
    assert "a folder takes no storage_options" in result.stderr
    assert "SECRET" not in result.output
    assert project.ran == []

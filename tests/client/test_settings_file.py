"""lookalike.toml: defaults of options, from the user's file and from the current folder's."""

import pytest


@pytest.fixture
def cli(cli, monkeypatch, tmp_path):
    """Run a command line in an empty folder, with an empty configuration folder and no server in the environment."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for name in ("LOOKALIKE_SERVER", "LOOKALIKE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return cli


@pytest.fixture
def own(tmp_path, toy):
    """Write the user's file, which names the server."""

    def write(more=""):
        file = tmp_path / "settings" / "lookalike" / "lookalike.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'server = "{toy.address}"\n{more}')
        return file

    return write


@pytest.fixture
def here(tmp_path):
    return lambda text: (tmp_path / "here" / "lookalike.toml").write_text(text)


def neighbors(out):
    return len(out.splitlines()) - 2


def test_users_file_names_the_server_and_options_of_a_command(cli, own):
    own("[search]\nk = 3\n")
    code, out, err = cli("search", "dogs/04.jpg")
    assert (code, err) == (0, "")
    assert neighbors(out) == 3


def test_options_override_folder_settings_which_override_user_settings(cli, own, here):
    own("[search]\nk = 3\n")
    here("[search]\nk = 2\n")
    assert neighbors(cli("search", "dogs/04.jpg")[1]) == 2
    assert neighbors(cli("search", "dogs/04.jpg", "-k", 4)[1]) == 4


def test_environment_overrides_the_file(cli, own, monkeypatch):
    own()
    monkeypatch.setenv("LOOKALIKE_SERVER", "127.0.0.1:1")
    code, _, err = cli("search", "dogs/04.jpg")
    assert code == 1
    assert "127.0.0.1:1" in err


def test_variable_names_another_file(cli, own, monkeypatch, tmp_path):
    file = own("[search]\nk = 3\n")
    monkeypatch.setenv("LOOKALIKE_CONFIG", str(file.rename(tmp_path / "other.toml")))
    assert neighbors(cli("search", "dogs/04.jpg")[1]) == 3
    monkeypatch.setenv("LOOKALIKE_CONFIG", str(tmp_path / "none.toml"))
    assert "none.toml cannot be read: no such file" in cli("search", "dogs/04.jpg")[2]


def test_flags_and_analyses_have_tables_too(cli, own, toy):
    own("[matrix]\nrows = 0\n[search]\njson = true\n")
    assert cli("search", "dogs/04.jpg")[1].startswith("{")
    for command in (["matrix"], ["analyze", "matrix"]):
        assert "... and 2 more" in cli(*command, "--server", toy.address)[1]


@pytest.mark.parametrize(
    "line",
    [
        'server = "127.0.0.1:1"',
        '[search]\nserver = "127.0.0.1:1"',
        "insecure = true",
        '[index]\nray = "127.0.0.1:6379"',
        '[explore]\nhost = "0.0.0.0"',
        "[gc]\nkeep = 1",
        '[search]\nmontage = "x.png"',
    ],
)
def test_folder_sets_only_what_changes_an_answer(cli, own, here, line):
    own()
    here(line)
    code, out, err = cli("search", "dogs/04.jpg")
    assert (code, out) == (2, "")
    assert "is allowed only in your own file" in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[search]\nrows = 3", "rows is no option of search."),
        ("[serach]\nk = 3", "there is no command serach. Did you mean search?"),
        ("k = 3", "k is not a setting for all commands. Put it into the table of a command, such as [search]: k = ..."),
        ("[serve]\nport = 1", "[serve] has a file of its own: lookalike serve --config FILE."),
        ("[search]\nk = 'many'", "Invalid value for '-k': 'many' is not a whole number"),
        ("k == 3", "is not TOML"),
    ],
)
def test_mistakes_name_the_file_and_the_key(cli, here, text, told):
    here(text)
    code, out, err = cli("search", "dogs/04.jpg")
    assert (code, out) == (2, "")
    assert told in err


def test_folder_names_no_object_store(cli, own, here):
    own()
    here('collection = "s3://bucket/pictures"')
    assert "collection may be a folder here" in cli("search", "dogs/04.jpg")[2]


def test_option_overrides_conflicting_settings_of_the_file(cli, own, toy):
    own("[search]\nrecall = 0.95\njson = true\n[matrix]\njson = true\n")
    code, out, err = cli("search", "dogs/04.jpg", "--exact", "--csv")
    assert (code, err) == (0, "")
    assert out.startswith("rank,")
    assert cli("matrix", "--server", toy.address, "--csv", "counts")[1].startswith("label,")


def test_other_form_of_an_analysis_has_options_of_its_own(cli, own, toy):
    pytest.importorskip("torch")
    own('[matrix]\nout = "shown"\nrows = 0\n')
    assert "... and 2 more" in cli("matrix", "--server", toy.address)[1]

"""The server of a client without an address, and addresses with a scheme."""

import pytest

import lookalike

VARIABLES = ("LOOKALIKE_SERVER", "LOOKALIKE_CA", "LOOKALIKE_TOKEN", "LOOKALIKE_TOKEN_FILE", "LOOKALIKE_COLLECTION_NAME")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings(client) -> tuple[str, bool, str | None, str]:
    connection = client.__getstate__()
    return connection.target, connection.tls is not None, connection.token, connection.collection


def test_client_without_an_address_calls_the_server_of_the_environment(toy, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_SERVER", toy.address)
    monkeypatch.setenv("LOOKALIKE_COLLECTION_NAME", "circle")
    monkeypatch.setenv("LOOKALIKE_TOKEN", "secret")
    with lookalike.Client() as client:
        assert client.info().images == 11
    assert toy.metadata[-1]["authorization"] == "Bearer secret"
    assert toy.requests[-1].collection == "circle"


def test_client_and_the_command_line_have_the_same_default():
    assert settings(lookalike.Client()) == ("127.0.0.1:50051", False, None, "")


def test_arguments_come_before_the_environment(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("of-file\n")
    monkeypatch.setenv("LOOKALIKE_SERVER", "localhost:1")
    monkeypatch.setenv("LOOKALIKE_TOKEN_FILE", str(tmp_path / "token"))
    assert settings(lookalike.aio.Client())[2] == "of-file"
    mine = lookalike.Client(token="mine", collection="other")  # noqa: S106
    assert settings(mine) == ("localhost:1", False, "mine", "other")
    # The environment's token is for its server only.
    assert settings(lookalike.Client("localhost:2")) == ("localhost:2", False, None, "")


def test_token_file_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LOOKALIKE_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(lookalike.InvalidArgumentError, match=r"LOOKALIKE_TOKEN_FILE: .*none' cannot be read"):
        lookalike.Client()
    # With a token as an argument, no file is read.
    assert settings(lookalike.Client(token="mine"))[2] == "mine"  # noqa: S106


@pytest.mark.parametrize("tls", [False, True])
def test_authority_of_the_environment_is_trusted(monkeypatch, tmp_path, certificates, tls):
    monkeypatch.setenv("LOOKALIKE_CA", str(certificates.ca))
    assert lookalike.Client(tls=tls).__getstate__().tls.ca == str(certificates.ca)
    # Arguments override the environment, and the environment's CA is not used for another server.
    assert lookalike.Client(tls=lookalike.TLS()).__getstate__().tls.ca is None
    assert lookalike.Client("localhost:2", tls=True).__getstate__().tls.ca is None


def test_scheme_says_whether_there_is_tls(toy):
    with lookalike.Client(f"grpc://{toy.address}/") as client:
        assert client.is_serving()
    assert settings(lookalike.Client("grpcs://example.org:443")) == ("example.org:443", True, None, "")
    assert settings(lookalike.Client("GRPC://[::1]:50051"))[0] == "[::1]:50051"


@pytest.mark.parametrize(
    ("target", "tls", "sentence"),
    [
        ("grpc://example.org:1", True, "with tls= write grpcs://example.org:1"),
        ("grpc://example.org", False, "must be like '127.0.0.1:50051'"),
        ("https://example.org:1", False, "must be like '127.0.0.1:50051'"),
    ],
)
def test_invalid_address_has_a_one_sentence_error(target, tls, sentence):
    with pytest.raises(lookalike.InvalidArgumentError, match=sentence):
        lookalike.Client(target, tls=tls)

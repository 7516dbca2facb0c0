"""Addresses: syntax, ports, and the check for addresses of this machine."""

import socket

import psutil
import pytest

import lookalike
from lookalike._address import Address, Endpoint
from lookalike._proxy import proxy_of

DEAD = "http://user:secret@127.0.0.1:1"


@pytest.mark.parametrize(
    ("target", "endpoints"),
    [
        ("127.0.0.1:50051", [("127.0.0.1", 50051)]),
        ("LOCALHOST:1", [("LOCALHOST", 1)]),
        ("[::1]:65535", [("::1", 65535)]),
        ("[fe80::1%eth0]:50051", [("fe80::1%eth0", 50051)]),
        ("dns:///images.example:50051", [("images.example", 50051)]),
        ("dns://1.1.1.1/images.example:50051", [("images.example", 50051)]),
        ("dns:images.example:50051", [("images.example", 50051)]),
        ("dns:///images.example", [("images.example", None)]),
        ("ipv4:127.0.0.1:50051,10.0.0.1:50052", [("127.0.0.1", 50051), ("10.0.0.1", 50052)]),
        ("ipv6:[::1]:50051", [("::1", 50051)]),
        ("unix:/run/lookalike.sock", []),
        ("unix:///run/lookalike.sock", []),
    ],
)
def test_spellings_of_grpc_are_read(target, endpoints):
    assert Address.parse(target).endpoints == tuple(Endpoint(host, port) for host, port in endpoints)


@pytest.mark.parametrize("port", ["999999", "65536", "0", "00000000000000000050051"])
@pytest.mark.parametrize("form", ["127.0.0.1:{}", "[::1]:{}", "dns:///images.example:{}", "ipv4:1.2.3.4:5,1.2.3.4:{}"])
def test_invalid_port_is_rejected(connect, form, port):
    with pytest.raises(lookalike.InvalidArgumentError, match=f"its port {port} must be 1 to 65535"):
        connect(form.format(port))


@pytest.mark.parametrize(
    "target",
    ["", "127.0.0.1", ":50051", "host:", "host:http", "host:-1", "host:1e3", "::1:50051", "2001:db8::1", "host:50051/x",
     "http://host:50051", "user@:x", "two words:50051", "host:٣", b"host:50051", 50051],
)  # fmt: skip
def test_invalid_address_is_rejected_with_an_example(connect, target):
    with pytest.raises(lookalike.InvalidArgumentError, match="it must be like"):
        connect(target)


LOOPBACK = ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1", "[::]:1", "localhost:1",
            "LOCALHOST:1", "localhost.:1", "dns:///localhost:1", "dns:Localhost:1", "ipv4:127.0.0.1:1",
            "ipv4:127.0.0.1:1,127.0.0.2:1", "ipv6:[::1]:1", "unix:/run/x.sock"]  # fmt: skip
ELSEWHERE = ["192.0.2.1:1", "example.invalid:1", "127.evil.example:1", "localhost.evil.example:1", "[2001:db8::1]:1",
             "ipv4:127.0.0.1:1,192.0.2.1:1", "dns:///192.0.2.1:1", "xds:///images"]  # fmt: skip


@pytest.mark.parametrize("target", LOOPBACK)
def test_loopback_is_recognized_by_address(target):
    address = Address.parse(target)
    assert address.is_loopback
    assert address.is_own


@pytest.mark.parametrize("target", ELSEWHERE)
def test_other_addresses_are_not_loopback(target):
    assert not Address.parse(target).is_loopback


@pytest.mark.parametrize("target", [target for target in ELSEWHERE if "evil" not in target])
def test_other_addresses_are_not_local(target):
    assert not Address.parse(target).is_own


def test_host_name_is_a_local_address():
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 1)
    except OSError:
        pytest.skip("this machine's name has no address")
    address = Address.parse(f"{name}:1")
    assert address.is_own
    assert not address.is_loopback, "a token in plain text needs more than what a name server says"


def test_addresses_of_network_interfaces_are_local():
    own = [one.address for card in psutil.net_if_addrs().values() for one in card if one.family == socket.AF_INET]
    assert own
    for address in own:
        assert Address.parse(f"{address}:1").is_own, address


@pytest.fixture
def proxied(monkeypatch):
    """An environment with a proxy at a port without a listener."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", DEAD)
    return monkeypatch


@pytest.mark.parametrize(
    "form",
    ["{name}:{port}", "dns:///{name}:{port}", "0.0.0.0:{port}", "LOCALHOST:{port}", "localhost:{port}",
     "ipv4:127.0.0.1:{port}", "dns:///127.0.0.1:{port}", "127.0.0.1:{port}"],
)  # fmt: skip
def test_local_servers_are_called_without_the_proxy(connect, toy_everywhere, proxied, form):
    target = form.format(name=socket.gethostname(), port=toy_everywhere)
    assert connect(target, retries=0).info(timeout=60).images == 11


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_failure_behind_a_proxy_names_its_variable_and_not_its_password(connect, proxied, variable):
    proxied.delenv("https_proxy")
    proxied.setenv(variable, DEAD)
    # with waiting for the server, the client would wait for the proxy
    with pytest.raises(lookalike.UnavailableError, match=f"which the environment variable {variable} names") as caught:
        connect("images.example:50051", retries=1).info(timeout=60)
    assert "the proxy 127.0.0.1:1," in str(caught.value)
    assert "add images.example to no_proxy" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("excepted", ["images.invalid", ".invalid", ".images.invalid", "a.example, INVALID"])
def test_no_proxy_names_are_respected(connect, proxied, excepted):
    proxied.setenv("no_proxy", excepted)
    with pytest.raises(lookalike.UnavailableError, match=r"No server answers at images\.invalid:1") as caught:
        connect("images.invalid:1", retries=0).info(timeout=60)
    assert "proxy" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, "http_proxy"),
        ({"http_proxy": "http://p:1", "https_proxy": "http://p:1"}, "https_proxy"),
        ({"http_proxy": "http://p:1", "grpc_proxy": "http://p:1"}, "grpc_proxy"),
        ({"http_proxy": "http://p:1", "grpc_proxy": ""}, None),
        ({"http_proxy": "socks5://p:1"}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.0/8,192.0.2.0/24"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "192.0.2.0/24", "no_grpc_proxy": "example"}, "http_proxy"),
    ],
)
def test_proxy_matches_the_choice_of_grpc(environment, variable):
    proxy = proxy_of(Address.parse("192.0.2.7:50051"), environment)
    assert (proxy and proxy.variable) == variable

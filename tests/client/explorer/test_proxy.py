"""The page behind a reverse proxy that adds a path prefix, such as nginx and jupyter-server-proxy."""

import re

import pytest

from lookalike import InvalidArgumentError
from lookalike.explorer.app import STATIC, VIEWS
from lookalike.explorer.settings import Listen

HUB, PREFIX = "hub.example.org", "/user/ann/proxy/8080"
# The Host header as it arrives: the browser's (jupyter-server-proxy), or the page's own (nginx by default).
HOSTS = pytest.mark.parametrize("host", [None, "127.0.0.1:8080"], ids=["its host is kept", "its host is replaced"])
# Headers of browsers on encrypted connections, and on unencrypted ones.
FETCHED = pytest.mark.parametrize("fetched", [{"Sec-Fetch-Site": "same-origin"}, {}], ids=["new", "old"])


@pytest.fixture
def listen():
    return Listen(names=("HUB.example.org",), insecure=True)


@HOSTS
@FETCHED
def test_page_behind_a_proxy_is_read_and_sent_to(toy, serve, listen, red_png, host, fetched):
    with serve(toy.address, listen, behind=(PREFIX, host), base_url=f"https://{HUB}:8443{PREFIX}/") as page:
        assert page.get("search").status_code == 200
        assert page.get("static/js/main.js").status_code == 200
        assert page.get("api/collection", headers=fetched).json()["collection"]["name"] == "circle"
        sent = page.post("api/uploads", content=red_png, headers={**fetched, "Origin": f"https://{HUB}:8443"})
        assert sent.status_code == 200
        assert page.get(f"api/search?upload={sent.json()['upload']}", headers=fetched).json()["neighbors"]
        for other in ("https://evil.example", "null", f"https://{HUB}.evil.example"):
            refused = page.post("api/uploads", content=red_png, headers={"Origin": other})
            assert refused.status_code == 403, other


def test_unknown_host_behind_a_proxy_names_the_option(toy, serve):
    with serve(toy.address, behind=(PREFIX, None), base_url=f"https://{HUB}{PREFIX}/") as page:
        refused = page.get("api/collection")
    assert refused.status_code == 400
    assert f"--http-name {HUB}" in refused.json()["error"]


def test_proxied_upload_from_an_unknown_host_names_the_option(toy, serve, red_png):
    with serve(toy.address, behind=(PREFIX, "127.0.0.1:8080"), base_url=f"http://{HUB}{PREFIX}/") as page:
        # Without encryption, only this header has the browser's address.
        refused = page.post("api/uploads", content=red_png, headers={"Origin": f"http://{HUB}"})
        assert refused.status_code == 403
        assert f"start it with --http-name {HUB}" in refused.json()["error"]
        for other in ("null", "http://[", "http://a b"):
            assert "--http-name" not in page.post("api/uploads", headers={"Origin": other}).json()["error"]


@HOSTS
def test_login_is_for_the_page_s_own_folder_and_for_encrypted_connections(toy, serve, host):
    listen = Listen(names=(HUB,))
    with serve(toy.address, listen, behind=(PREFIX, host), base_url=f"https://{HUB}{PREFIX}/") as page:
        assert page.get("api/collection").status_code == 401
        cookie = page.post("login", content="some-token").headers["set-cookie"].lower()
        assert "path" not in cookie
        assert "secure" in cookie
        assert {each.path for each in page.cookies.jar} == {PREFIX}
        assert page.get("api/collection").status_code == 200
        tag = page.get("api/collection").json()["tag"]
        assert page.get(f"thumbnails/{tag}/0/64.jpg").status_code == 200
        page.post("logout")
        assert page.get("api/collection").status_code == 401


def test_no_address_is_redirected_to_one_without_the_prefix(toy, serve, listen):
    with serve(toy.address, listen, behind=(PREFIX, None), base_url=f"https://{HUB}{PREFIX}/") as page:
        for path in ("", "search", "search/", "static", "static/", "api/collection/", "nothing"):
            reply = page.get(path)
            assert not reply.is_redirect, path
            assert "location" not in reply.headers


def test_no_file_of_the_page_names_an_address_from_the_root():
    names = "|".join(["api", "static", "thumbnails", *(view.strip("/") for view in VIEWS if view != "/")])
    for file in [STATIC / "index.html", *STATIC.glob("css/*.css"), *STATIC.glob("js/**/*.js")]:
        found = re.findall(rf"""["'`(]/(?:{names})\b""", file.read_text())
        assert found == [], file


@pytest.mark.parametrize("name", ["https://hub.example.org", "hub.example.org:8443", "hub/prefix", "*", ""])
def test_http_name_must_be_a_host_name(name):
    with pytest.raises(InvalidArgumentError, match=r"such as hub\.example\.org"):
        Listen(names=(name,))


def test_remote_page_requires_tokens_by_default():
    assert not Listen().needs_tokens
    assert Listen(names=(HUB,)).needs_tokens
    assert not Listen(names=(HUB,), insecure=True).needs_tokens

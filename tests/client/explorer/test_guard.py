"""Requests that the page's server rejects, and headers of its replies."""

import re

import pytest

from lookalike import InvalidArgumentError
from lookalike.explorer.app import STATIC, VIEWS
from lookalike.explorer.guard import POLICY
from lookalike.explorer.settings import Bounds, Listen


@pytest.mark.parametrize("path", [*VIEWS, "/api/collection", "/static/js/main.js", "/api/nothing"])
def test_every_reply_carries_the_security_headers(page, path):
    reply = page.get(path)
    assert reply.headers["content-security-policy"] == POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in reply.headers


def test_policy_allows_no_other_origin_and_nothing_inline():
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "*" not in POLICY


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_rebound_host_name_is_rejected(page, host):
    assert page.get("/api/collection", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1", "[::1]:8080"])
def test_this_machine_s_own_names_are_served(page, host):
    assert page.get("/api/health", headers={"Host": host}).status_code == 200


def test_another_site_s_page_can_neither_read_nor_send(page, red_png):
    crossing = {"Sec-Fetch-Site": "cross-site"}
    assert page.get("/api/collection", headers=crossing).status_code == 403
    assert page.post("/api/uploads", content=red_png, headers=crossing).status_code == 403
    assert page.post("/api/uploads", content=red_png, headers={"Origin": "https://evil.example"}).status_code == 403
    assert page.get("/search", headers=crossing).status_code == 200  # following a link is allowed
    own = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
    assert page.post("/api/uploads", content=red_png, headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py"])
def test_nothing_outside_of_the_static_files_is_served(page, path):
    reply = page.get(path)
    assert reply.status_code == 404
    assert "Listen" not in reply.text


@pytest.mark.parametrize("start", [b"<svg xmlns='x'/>", b"<html>", b"", b"RIFF0000WAVE", b"%PDF-1.7"])
def test_non_image_upload_is_rejected_by_its_first_bytes(page, start):
    reply = page.post("/api/uploads", content=start)
    assert reply.status_code == 400
    assert "JPEG, PNG, WebP" in reply.json()["error"]


def test_upload_over_the_limit_is_rejected(toy, serve, red_png):
    with serve(toy.address, bounds=Bounds(one_upload_bytes=64)) as page:
        reply = page.post("/api/uploads", content=red_png)
        assert (reply.status_code, reply.json()["kind"]) == (413, "wrong")

        async def in_pieces():
            yield red_png

        assert page.post("/api/uploads", content=in_pieces()).status_code == 413


def test_unknown_methods_and_paths_have_an_error_message(page):
    assert page.get("/api/nothing").json() == {"error": "/api/nothing: Not Found.", "kind": "missing"}
    assert page.post("/api/search").status_code == 405


def test_remote_page_requires_tls_or_insecure():
    with pytest.raises(InvalidArgumentError, match="--http-cert"):
        Listen(host="0.0.0.0")
    assert Listen(host="0.0.0.0", insecure=True).loopback is False
    assert Listen(host="::1").url(80) == "http://[::1]:80/"


def test_page_refers_to_its_own_files_only():
    for file in [STATIC / "index.html", *STATIC.glob("css/*.css"), *STATIC.glob("js/**/*.js")]:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), file
    markup = (STATIC / "index.html").read_text()
    assert "<style" not in markup
    assert "style=" not in markup
    assert not re.search(r"<script(?![^>]*\bsrc=)", markup)
    for path in re.findall(r'(?:href|src)="static/([^"]+)"', markup):
        assert (STATIC / path).is_file(), path


def test_every_imported_module_exists():
    for file in STATIC.glob("js/**/*.js"):
        for path in re.findall(r"""(?:from|import\()\s*["'](\.[^"']+)["']""", file.read_text()):
            assert (file.parent / path).is_file(), f"{file.name} imports {path}"


def test_vendored_files_have_a_license_file():
    for name in ("twgl.js", "kdbush.js", "inter.woff2"):
        assert (STATIC / "vendor" / name).is_file()
        assert (STATIC / "vendor" / f"{name.partition('.')[0]}.LICENSE").stat().st_size > 500

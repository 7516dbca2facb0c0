"""Changes through the explorer's HTTP interface: only for callers with the role write, with undo until a fold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.server.live.test_update import listed, random
from tests.server.live.test_uploaded_images import ByColor, jpeg

from lookalike import local_secret
from lookalike.explorer.app import create_app
from lookalike.explorer.settings import Bounds, Listen, Upstream
from lookalike.v1 import update_pb2


@asynccontextmanager
async def page(server: str, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """The page of a server, started with or without a token."""
    app = create_app(Upstream(server, token=token), Listen(), Bounds())
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", timeout=120) as browser:
            yield browser


async def post(browser: httpx.AsyncClient, what: str, **body: Any) -> Any:
    reply = await browser.post(f"/api/changes/{what}", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def image(browser: httpx.AsyncClient, key: str) -> Any:
    reply = await browser.get("/api/image", params={"key": key})
    return reply.json()["image"] if reply.status_code == 200 else None


async def test_changes_can_be_undone_until_a_fold(make_toy, serve) -> None:
    toy = make_toy(random(40), clusters=3)
    first, second, third = (int(one) for one in toy.ids[:3])
    embedder = ByColor(toy)
    async with serve(toy, writable=True, open_embedder=lambda reader, space: embedder) as served:
        secret = local_secret.find(int(served.app.address.rpartition(":")[2]))
        async with page(served.app.address, secret) as browser:
            may = (await browser.get("/api/changes")).json()
            assert may == {"may": True, "why": "", "generation": 1}
            before = await listed(served)
            gone = await post(browser, "delete", ids=[first, second, 999_999])
            assert gone["deleted"] == 2
            assert set(before) - set(await listed(served)) == {toy.key(first), toy.key(second)}
            await post(browser, "undo", **gone["undo"])
            assert sorted(await listed(served)) == sorted(before)
            # Labels: each image gets back its own.
            said = await post(browser, "label", ids=[first, second, third], label="dog")
            assert said["changed"] == 3
            assert (await image(browser, toy.key(first)))["label"] == "dog"
            await post(browser, "undo", **said["undo"])
            assert [(await image(browser, toy.key(one)))["label"] for one in (first, second, third)] == [
                f"label{one % 3}" if one % 3 else None for one in (first, second, third)
            ]
            # An image is replaced, and comes back.
            reply = await browser.post(
                "/api/changes/add", params={"key": toy.key(first), "label": "new"}, content=jpeg((255, 0, 0))
            )
            added = reply.json()
            assert (added["replaced"], (await image(browser, toy.key(first)))["id"]) == (True, added["id"])
            tag = (await browser.get("/api/collection")).json()["tag"]
            shown = await browser.get(f"/thumbnails/{tag}/{added['id']}/64.jpg")
            assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
            await post(browser, "undo", **added["undo"])
            assert (await image(browser, toy.key(first)))["id"] == first
            # An uploaded image by its name.
            name = (await browser.post("/api/uploads", content=jpeg((0, 0, 255)))).json()["upload"]
            reply = await browser.post("/api/changes/add", params={"key": "blue.png", "upload": name})
            assert (await image(browser, "blue.png"))["id"] == reply.json()["id"]
            # Files that are added by their names replace no image.
            again = await browser.post(
                "/api/changes/add", params={"key": "blue.png", "new": "1"}, content=jpeg((0, 255, 0))
            )
            assert (again.status_code, again.json()["kind"]) == (400, "wrong")
            assert "has an image with the key 'blue.png'" in again.json()["error"]
            assert (await image(browser, "blue.png"))["id"] == reply.json()["id"]
            # A change that is part of a generation stays.
            gone = await post(browser, "delete", ids=[third])
            await served.update.Fold(update_pb2.FoldRequest())
            late = await browser.post("/api/changes/undo", json=gone["undo"])
            assert (late.status_code, late.json()["kind"]) == (409, "changed")
            assert toy.key(third) not in await listed(served)
            wrong = [
                ("delete", b"no json"),
                ("delete", b"[1]"),
                ("delete", b'{"ids": ["a"]}'),
                ("delete", b'{"ids": [true]}'),
                ("label", b'{"ids": [1]}'),
                ("add?key=", b"x"),
                ("add?key=a", b"no picture"),
                ("undo", b'{"generation": 2, "labels": [1]}'),
            ]
            for path, body in wrong:
                refused = await browser.post(f"/api/changes/{path}", content=body)
                assert (refused.status_code, refused.json()["kind"]) == (400, "wrong"), path


async def test_changes_without_the_write_role_are_rejected(make_toy, serve) -> None:
    toy = make_toy(random(20))
    first = int(toy.ids[0])
    async with serve(toy, writable=True) as served, serve(toy) as reader:
        # The page runs as the user who runs the server, and could use this user's local secret.
        secret = local_secret.find(int(served.app.address.rpartition(":")[2]))
        async with page(served.app.address) as browser:
            assert (await browser.get("/api/changes")).json()["why"] == "login"
            for path in ("delete", "label", "undo"):
                refused = await browser.post(f"/api/changes/{path}", json={"ids": [first], "label": "", "restore": []})
                assert (refused.status_code, refused.json()["kind"]) == (401, "login")
            assert (await browser.post("/api/changes/add?key=a", content=jpeg((1, 2, 3)))).status_code == 401
            await browser.post("/login", content="guess")
            assert (await browser.get("/api/changes")).json()["why"] == "role"
            await browser.post("/login", content=secret)
            assert (await browser.get("/api/changes")).json()["may"]
            from_elsewhere = await browser.post(
                "/api/changes/delete", json={"ids": [first]}, headers={"Sec-Fetch-Site": "cross-site"}
            )
            assert from_elsewhere.status_code == 403
        async with page(reader.app.address, local_secret.find(int(reader.app.address.rpartition(":")[2]))) as browser:
            assert (await browser.get("/api/changes")).json()["why"] == "read-only"
        await asyncio.sleep(0)
        assert len(await listed(served)) == 21

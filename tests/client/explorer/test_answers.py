"""Replies of the page's server, for a collection with distances known from geometry."""

import grpc
import pytest


def test_collection_reply_needs_no_slow_call(page, toy):
    told = page.get("/api/collection").json()
    assert told["collection"]["name"] == "circle"
    assert told["collection"]["images"] == 11
    assert len(told["tag"]) == 12
    assert "GetServerInfo" not in toy.calls


def test_server_info_is_requested_once_per_generation(page, toy):
    first, second = page.together("/api/server", "/api/server")
    assert first.json() == second.json() == page.get("/api/server").json()
    assert first.json()["server"]["limits"]["max_k"] > 0
    assert toy.calls.count("GetServerInfo") == 1
    toy.generation = 2
    page.get("/api/server")
    assert toy.calls.count("GetServerInfo") == 2


def test_neighbors_come_with_label_distance_and_cluster(page, geometry):
    found = page.get("/api/search", params={"id": 0, "k": 3}).json()
    assert [each["id"] for each in found["neighbors"]] == [1, 2, 3]
    assert [each["label"] for each in found["neighbors"]] == ["dogs"] * 3
    assert [each["cluster"] for each in found["neighbors"]] == [0, 0, 0]
    assert found["neighbors"][1]["distance"] == pytest.approx(geometry(20), abs=1e-6)
    assert found["served"]["timings"]["total_us"] == 1500
    assert found["matching"] is None


def test_description_is_searched_by(page, toy):
    found = page.get("/api/search", params={"text": "a good dog", "k": 2}).json()
    assert [each["id"] for each in found["neighbors"]] == [0, 1]
    (asked,) = (each for each in toy.requests if type(each).__name__ == "SearchRequest")
    assert list(asked.query.texts.values) == ["a good dog"]
    assert page.get("/api/search", params={"text": " "}).status_code == 400


def test_image_without_a_cluster_has_none(page):
    found = page.get("/api/search", params={"id": 9, "k": 10}).json()
    clusters = {each["id"]: each["cluster"] for each in found["neighbors"]}
    assert clusters[10] is None
    assert clusters[5] == 1


def test_effort_travels_with_the_search(page, toy):
    page.get("/api/search", params={"id": 0, "exact": "1"})
    page.get("/api/search", params={"id": 0, "recall": "0.9"})
    exact, recall = (each for each in toy.requests if type(each).__name__ == "SearchRequest")
    assert exact.exact
    assert recall.recall == pytest.approx(0.9)


def test_label_filter_returns_at_most_the_matching_images(page, toy):
    """The nearest four images are dogs, and 5 of the 11 images are cats."""
    found = page.get("/api/search", params={"id": 0, "k": 3, "label": "cats"}).json()
    assert [each["id"] for each in found["neighbors"]] == [5, 6, 7]
    assert found["matching"] == 5
    (asked,) = (each for each in toy.requests if type(each).__name__ == "SearchRequest")
    assert asked.k == 3
    everything = page.get("/api/search", params={"id": 0, "k": 200, "label": "dogs"}).json()
    assert len(everything["neighbors"]) == everything["matching"] == 4  # the query is the fifth cat
    nothing = page.get("/api/search", params={"id": 0, "label": "birds"}).json()
    assert (nothing["neighbors"], nothing["matching"]) == ([], 0)


def test_neighbors_with_another_label_are_found_at_any_distance(page):
    found = page.get("/api/search", params={"id": 0, "k": 2, "other": "dogs"}).json()
    assert [each["id"] for each in found["neighbors"]] == [5, 6]
    assert found["matching"] is None


def test_server_without_filters_is_reported(page, toy):
    toy.change = lambda method, reply: reply.served.ClearField("plan") if method == "Search" else None
    reply = page.get("/api/search", params={"id": 0, "label": "cats"})
    assert (reply.status_code, reply.json()["kind"]) == (501, "not-built")


def test_uploaded_image_is_searched_by_its_name(page, red_png):
    name = page.post("/api/uploads", content=red_png).json()["upload"]
    again = page.post("/api/uploads", content=red_png).json()["upload"]
    assert name == again
    found = page.get("/api/search", params={"upload": name, "k": 1}).json()
    assert found["neighbors"][0]["id"] == 9  # the reddest is at 90 degrees
    shown = page.get(f"/api/uploads/{name}")
    assert shown.content == red_png
    assert shown.headers["content-type"] == "image/png"
    assert "sandbox" in shown.headers["content-security-policy"]


def test_image_is_returned_with_its_clusters(page):
    told = page.get("/api/image", params={"id": 3}).json()
    assert told["image"]["key"] == "dogs/03.jpg"
    (home,) = told["memberships"]
    assert (home["clustering"], home["cluster"], home["size"]) == ("toy/halves", 0, 5)
    assert home["nearest"][0]["id"] == 2
    by_key = page.get("/api/image", params={"key": "dogs/03.jpg"}).json()
    assert by_key == told


def test_members_of_a_cluster_continue_where_a_page_ended(page):
    first = page.get("/api/members", params={"clustering": "toy/halves", "cluster": 0, "limit": 3}).json()
    assert first["members"][0]["id"] == 2
    assert first["total"] == 5
    rest = page.get(
        "/api/members", params={"clustering": "toy/halves", "cluster": 0, "limit": 3, "token": first["next"]}
    ).json()
    together = [each["id"] for each in first["members"] + rest["members"]]
    assert sorted(together) == [0, 1, 2, 3, 4]
    assert rest["next"] == ""


def test_images_are_listed_by_label_page_by_page(page):
    first = page.get("/api/images", params={"label": "cats", "limit": 4}).json()
    rest = page.get("/api/images", params={"label": "cats", "limit": 4, "token": first["next"]}).json()
    assert [each["id"] for each in first["images"] + rest["images"]] == [5, 6, 7, 8, 9]
    assert first["total"] == 5


def test_all_images_are_listed_in_an_order_that_mixes_them(page):
    first = page.get("/api/images", params={"limit": 3}).json()
    assert [each["label"] for each in first["images"]] == ["dogs", "cats", "dogs"]
    rest = page.get("/api/images", params={"limit": 20, "token": first["next"]}).json()
    assert sorted(each["id"] for each in first["images"] + rest["images"]) == list(range(11))


def test_labels_are_listed(page):
    told = page.get("/api/labels").json()
    assert told == {"labels": [{"label": "cats", "images": 5}, {"label": "dogs", "images": 5}], "total": 2}


def test_page_token_of_an_older_generation_is_a_conflict(page, toy):
    first = page.get("/api/images", params={"limit": 4}).json()
    toy.generation = 2
    reply = page.get("/api/images", params={"limit": 4, "token": first["next"]})
    assert (reply.status_code, reply.json()["kind"]) == (409, "changed")


def test_only_clustering_is_the_default(page):
    told = page.get("/api/clusters").json()
    assert told["clustering"] == "toy/halves"
    assert [each["size"] for each in told["clusters"]] == [5, 5]


def test_experiment_is_returned_as_rows(page):
    told = page.get("/api/experiments/matrix").json()
    assert told["tables"]["counts"][0] == {"label": "dogs", "images": 5, "cluster": 0}
    assert told["figures"]["purity"] == 1.0
    assert told["findings"] == ["Every label has a cluster of its own."]


def test_mistakes_come_from_the_server(page, toy):
    told = page.get("/api/experiments/mistakes", params={"model": "toynet", "label": "dogs", "limit": 7}).json()
    assert told["settings"] == {"model": "toynet", "label": "dogs", "limit": "7"}


@pytest.mark.parametrize(
    ("name", "asked", "told"),
    [
        ("duplicates", {"space": "toy", "limit": 7}, {"space": "toy", "limit": "7"}),
        ("leaks", {"split": "fold"}, {"split": "fold", "limit": "60"}),
        ("label_issues", {"limit": 9}, {"limit": "9"}),
        ("quality", {"flag": "blurry"}, {"flag": "blurry", "limit": "24"}),
    ],
)
def test_checks_come_from_the_server(page, name, asked, told):
    assert page.get(f"/api/experiments/{name}", params=asked).json()["settings"] == told


def test_unknown_experiment_is_missing(page):
    assert page.get("/api/experiments/magic").status_code == 404


def test_attribution_is_an_image(page):
    reply = page.get("/api/attribution", params={"id": 3, "method": "gbp"})
    assert reply.headers["content-type"] == "image/png"
    assert reply.content.startswith(b"\x89PNG")
    assert page.get("/api/attribution", params={"id": 3, "method": "x"}).status_code == 400


def test_stored_results_are_listed_without_rows(page):
    (result,) = page.get("/api/results").json()["results"]
    assert (result["name"], result["tables"]["points"]) == ("map/toy", 11)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/search", "exactly one"),
        ("/api/search?id=0&upload=x", "exactly one"),
        ("/api/search?id=0&label=a&other=b", "at most one of label and other"),
        ("/api/search?id=0&k=0", "k='0'"),
        ("/api/search?id=0&k=1_0", "k='1_0'"),
        ("/api/search?id=0&k=100000", "k='100000'"),
        ("/api/search?id=0&recall=2", "recall='2'"),
        ("/api/search?id=0&recall=nan", "recall='nan'"),
        ("/api/image?id=", "id=''"),
        ("/api/members?clustering=toy/halves", "cluster is missing"),
        ("/api/search?id=0&label=" + "x" * 2000, "2000 characters"),
    ],
)
def test_invalid_request_has_a_one_sentence_error(page, path, named):
    reply = page.get(path)
    assert reply.status_code == 400
    assert named in reply.json()["error"]
    assert reply.json()["error"].endswith(".")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, 404, "missing"),
        (grpc.StatusCode.FAILED_PRECONDITION, 409, "not-built"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "busy"),
        (grpc.StatusCode.UNAUTHENTICATED, 401, "login"),
        (grpc.StatusCode.UNAVAILABLE, 503, "gone"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, "slow"),
        (grpc.StatusCode.INTERNAL, 502, "failed"),
        (grpc.StatusCode.UNIMPLEMENTED, 501, "not-built"),
    ],
)
def test_each_error_of_the_server_has_its_status_and_kind(page, toy, code, status, kind):
    toy.fail(code, "The server says why.")
    reply = page.get("/api/clusters")
    assert (reply.status_code, reply.json()["kind"]) == (status, kind)
    assert reply.json()["error"]


def test_health_reports_whether_the_server_answers(page, serve):
    assert page.get("/api/health").json() == {"serving": True}
    with serve("127.0.0.1:1") as lonely:
        assert lonely.get("/api/health").json() == {"serving": False}
        assert lonely.get("/api/collection").json()["kind"] == "gone"


@pytest.mark.parametrize(
    ("path", "about", "message"),
    [
        ("images", {}, "ListImagesRequest"),
        ("matches", {}, "ListImagesRequest"),
        ("matching", {}, "ListImagesRequest"),
        ("clusters", {}, "ListClustersRequest"),
        ("members", {"clustering": "toy/halves", "cluster": 0}, "ListMembersRequest"),
        ("search", {"id": 0}, "SearchRequest"),
        ("experiments/matrix", {}, "GetClassMatrixRequest"),
        ("experiments/oddballs", {}, "ListOddballsRequest"),
    ],
)
def test_filter_of_the_address_travels_with_every_question(page, toy, path, about, message):
    page.get(f"/api/{path}", params={**about, "where": "a < 3"})
    (asked,) = (each for each in toy.requests if type(each).__name__ == message)
    assert asked.filter.text == "a < 3"


def test_label_and_a_filter_are_joined(page, toy):
    page.get("/api/members", params={"clustering": "toy/halves", "cluster": 0, "label": "dogs", "where": "a < 3"})
    (asked,) = (each for each in toy.requests if type(each).__name__ == "ListMembersRequest")
    text, label = asked.filter.all.filters
    assert text.text == "a < 3"
    assert label.compare.column == "label"


def test_filter_of_more_than_4096_characters_is_rejected(page):
    reply = page.get("/api/images", params={"where": "x" * 4097})
    assert (reply.status_code, reply.json()["kind"]) == (400, "wrong")
    assert page.get("/api/images", params={"where": "x" * 4096}).status_code == 200

"""`lookalike images` with a server; tests/indexer/cli tests it with a folder."""

import json


def test_images_of_a_label_are_listed(cli):
    code, out, err = cli("images", "--label", "cats", "--limit", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["key", "cats/05.jpg", "cats/06.jpg"]
    assert lines[3] == "... and 3 more of 5; --limit lists them."
    everything = json.loads(cli("images", "--label", "cats", "--json")[1])
    assert (everything["label"], everything["total"], len(everything["images"])) == ("cats", 5, 5)


def test_all_images_are_listed_over_several_pages(cli):
    found = json.loads(cli("images", "--json")[1])
    assert (found["label"], found["total"], len(found["images"])) == (None, 11, 11)
    assert found["images"][0]["id"] == 0
    assert json.loads(cli("images", "--limit", "0", "--json")[1])["images"] == []


def test_folder_or_a_server_is_named(cli, toy):
    code, _, err = cli("images", "--collection", "x", "--server", toy.address)
    assert code == 2
    assert "Name a --collection or a --server, not both." in err

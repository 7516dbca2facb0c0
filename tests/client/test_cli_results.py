"""`lookalike results` with a server; tests/e2e compares it with a folder."""

import json


def test_they_are_listed_with_their_tables_and_state(cli, toy):
    code, out, err = cli("results")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["result   rows of its tables  state", "map/toy  points 11, axes 2   up to date"]
    toy.generation = 2
    assert "out of date: the collection has changed since" in cli("results")[1]
    [listed] = json.loads(cli("results", "--json")[1])
    assert listed["settings"]["labels"] == ["dogs", 7]
    assert listed["tables"] == {"points": 11, "axes": 2}


def test_one_is_shown_with_the_first_rows_of_its_tables(cli):
    code, out, err = cli("results", "map/toy", "--rows", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "map/toy (no settings): up to date"
    assert "Two arcs." in lines
    at = lines.index("points, 11 rows:")
    assert lines[at + 1].split() == ["id", "x", "xy", "label", "cluster", "odd", "near", "near_keys"]
    assert lines[at + 3].startswith("1   0.5  1, -1  dogs")
    assert lines[at + 4] == "... and 9 more; --rows and --json show them."
    assert lines[lines.index("axes, 2 rows:") + 2] == "x"


def test_all_rows_are_in_the_json(cli):
    found = json.loads(cli("results", "map/toy", "--json")[1])
    assert (found["name"], found["kind"], found["out_of_date"]) == ("map/toy", "map", False)
    points = found["tables"]["points"]
    assert len(points) == 11
    assert points[10]["label"] is None
    assert points[10]["cluster"] is None
    assert points[3]["near"] == [1, 2]


def test_invalid_arguments_are_reported_in_one_sentence(cli, toy):
    code, _, err = cli("results", "map/other")
    assert (code, err) == (1, "Error: The collection circle has no stored result 'map/other'; it has: map/toy.\n")
    code, _, err = cli("results", "--collection", "x", "--server", toy.address)
    assert code == 2
    assert "Name a --collection or a --server, not both." in err


def test_table_is_printed_as_csv(cli):
    code, out, _ = cli("results", "map/toy", "--csv", "points")
    assert code == 0
    assert out.splitlines()[:2] == ["id,x,xy,label,cluster,odd,near,near_keys", out.splitlines()[1]]
    assert len(out.splitlines()) == 12
    assert cli("results", "map/toy", "--csv", "rows")[2].endswith("has no table 'rows'; it has points, axes.\n")
    assert cli("results", "--csv", "points")[0] == 2

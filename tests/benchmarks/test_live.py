from __future__ import annotations


def test_changes_have_rates_times_and_what_they_cost_a_search(bench):
    rows = {row["case"]: row["measured"] for row in bench("live")}
    assert list(rows) == [
        "flat, a search beside 200 live rows",
        "flat, one vector at a time",
        "flat, 4 clients with 1 vectors a call",
        "flat, 4 clients with 4 vectors a call",
        "flat, 2 folds of 50 images each",
    ]
    folds = rows["flat, 2 folds of 50 images each"]
    assert folds.pop("failed_calls") == 0
    # The clock of a process counts hundredths of a second.
    assert folds.pop("cpu_s") >= 0
    assert folds.pop("most_cpu_s") >= 0
    assert all(value > 0 for measured in rows.values() for value in measured.values())

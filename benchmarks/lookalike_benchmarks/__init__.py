"""Benchmarks of Lookalike and its peers, run by `lookalike bench`.

cli.py runs one of the modules in suites/, results.py stores its rows, and report.py writes docs/benchmarks.md from
them.

    options.py, machine.py, results.py      settings of a run, the machine, the rows
    data.py, vectors.py, synthetic.py       synthetic vectors and collections
    servable.py, labeled.py, explored.py   collections with an index, labels, or JPEG files
    generated_images.py, files.py           generated images, decoding and writing
    serving.py, scraped.py, load/           server processes, their metrics, clients that load them
    contestant.py, environments.py, engines/    peers in processes and environments of their own
    bare.py, overhead.py, fronts.py, sharded.py     the service against bare faiss, fronts, shards
    searching.py, filtering.py, filtered_peers.py   searches and filtered searches
    forward.py, peak.py                     networks and the peaks of a device
    trainers.py, in_memory.py               k-means of several libraries, stages over an array
    scaling.py, cold_start.py, flat_memory.py, bookkeeping.py   the suite scale
    experimenting.py, folding.py            the suites experiments and live
    timing.py, processes.py                 timing of calls, work in fresh processes
    report.py, questions.py, targets.py, scorecard.py, tables.py, charts.py   the report

Run alone with `python -m lookalike_benchmarks.NAME`: answer_cost, before_after, choose_k_mixtures, engine_cost,
first_stage, handover, handover_steps, kmeans_ratios, observing, sent_images.
"""

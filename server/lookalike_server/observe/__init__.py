"""Observability: metrics, logs, traces, and the recall of live queries.

observatory.py  entry point: everything that observes a server, by its settings
interceptor.py  outermost interceptor: request ids, and the record of each call
metrics.py      metrics of calls and batches
gauges.py       values that are read at each scrape
exposition.py   HTTP port for Prometheus
audit.py        recall audit of live queries
logs.py         log format, and a line for each call
security.py     security log
tracing.py      OpenTelemetry spans
"""

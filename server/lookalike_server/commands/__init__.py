"""Command line of the server: options, their sources, and the life of the process.

cli.py                 `lookalike serve`
route.py               `lookalike route`
token_command.py       `lookalike token`
options.py             options with an environment variable and a configuration key
configuration.py       the option --config
collection_options.py  names, folders, and separate settings of collections
limit_options.py       an option for each limit
observe_options.py     options for metrics, logs, and traces
fronts_option.py       the option --fronts
chosen_collections.py  settings of each collection, merged from all sources
lifecycle.py           start, signals, and shutdown
explorer_process.py    explorer page beside the server
"""

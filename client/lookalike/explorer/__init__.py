"""Web page that shows a collection in a browser: `lookalike explore`.

A small web server that is an ordinary client: all content comes from lookalike.aio.Client. Its only state is a
cache of thumbnails and map colors, the uploaded images, and the logins. Needs the extra [explorer]: starlette and
uvicorn.

    run.py, settings.py             start the server; its settings and bounds
    app.py                          routes and middleware
    guard.py                        Host and Origin checks, security headers
    callers.py                      logins and the clients of each caller
    parameters.py                   validate request parameters
    about_server.py                 cached server information
    api_collection.py               the collection, its images and labels
    api_search.py, uploads.py       searches; uploaded images
    api_clusters.py                 clusters and their members
    api_filter.py                   columns and matches for the filter bar
    api_map.py, api_colors.py       maps, and the colors of their points
    api_experiments.py              experiments and stored results
    api_changes.py                  add, delete, label, undo
    thumbnails.py, tag.py, lru.py   thumbnails, the tag of cacheable URLs, the cache
    errors.py                       convert errors to HTTP replies

static/                         has the page itself: HTML, CSS and JavaScript.
"""

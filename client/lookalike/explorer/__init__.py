"""A page to look at a collection with: `lookalike explore`.

A small web server that is a client like any other: what it shows comes from
lookalike.aio.Client, and its only state is a cache of thumbnails, the pictures
that were dropped on the page, and who has logged in. Needs the extra
[explorer]: starlette and uvicorn.
"""

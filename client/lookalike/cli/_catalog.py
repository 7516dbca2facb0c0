"""Names, order and summaries of all commands, so that the help page loads none of them."""

from __future__ import annotations

from typing import Final

# Analyses of a whole collection: `lookalike analyze NAME`.
ANALYSES: Final[dict[str, str]] = {
    "classes": "Accuracy of a model for each class.",
    "matrix": "Count the images of each class in each cluster.",
    "oddballs": "List the images that are odd for their class.",
    "split": "Cluster the images of one class among themselves.",
    "mistakes": "List what a model confuses, the most confident mistake first.",
    "explain": "Explain what a model makes of images: classes, CAM, neighbors.",
    "show": "Draw images with their nearest ones, layer by layer.",
    "interpret": "Suggest a name for each cluster, with its images.",
    "choose-k": "Compare numbers of clusters, and suggest some.",
    "dendrogram": "Draw a tree of the classes that a model sees.",
    "map": "Draw a map on which similar images are close.",
    "compare": "Compare spaces and ways to cluster.",
    "evolution": "Follow the checkpoints of a model from step to step.",
    "report": "Write a page with all analyses.",
}
SECTIONS: Final[dict[str, dict[str, str]]] = {
    "Make a collection": {
        "index": "Embed images, cluster them and build an index: all in one.",
        "embed": "Embed images.",
        "cluster": "Cluster the images.",
        "build": "Build a search index.",
        "watch": "Keep a collection equal to its source while files change.",
        "import": "Make a space from vectors that you have.",
        "graph": "Find the k nearest images of every image.",
        "attach": "Add attributes from a table: price, date, tags.",
    },
    "Ask": {
        "search": "Find the images that look most like one.",
        "images": "List images, all or those that match a filter.",
        "clusters": "Show the cluster of an image and its members.",
        "info": "Describe a collection, in a folder or behind a server.",
        "results": "List or show the stored results of analyses.",
    },
    "Analyze": {"analyze": f"Run one of {len(ANALYSES)} analyses: lookalike analyze --help."},
    "Look after a set of images": {
        "duplicates": "Group near-duplicates and choose those to keep.",
        "leaks": "Find near-duplicates across the splits of a set.",
        "label-issues": "List labels that are likely wrong.",
        "quality": "List dark, bright, blurry, tiny and uniform images.",
        "sample": "Choose images that differ most, for labeling.",
        "sort": "Link or copy files into a folder for each cluster.",
        "export": "Write embeddings to a file.",
    },
    "Serve": {
        "serve": "Serve a collection over gRPC.",
        "route": "Serve a collection whose index is spread over servers.",
        "explore": "Serve a web page to look at a collection.",
        "reload": "Make a server load the newest generation now.",
        "token": "Create a token for a caller.",  # nosec B105
    },
    "Maintain": {
        "verify": "Check every file of a collection.",
        "rejects": "List the images that could not be embedded.",
        "relocate": "Tell a collection that its source has moved.",
        "set": "Set a default of a collection.",
        "remove": "Remove a clustering, space, index or table.",
        "compact": "Merge small parts.",
        "gc": "Remove old generations.",
        "parts": "List the Parquet files of a table.",
    },
    "Other": {
        "doctor": "Check this machine, or an object store.",
        "completion": "Print the completion script of a shell.",
        "bench": "Run a benchmark.",
    },
}
# Commands that a server can run, too: `lookalike NAME --server HOST:PORT`.
SERVED: Final = (
    *("classes", "matrix", "oddballs", "split", "mistakes", "explain", "interpret", "choose-k", "dendrogram", "map"),
    *("compare", "evolution", "duplicates", "leaks", "label-issues", "sample", "quality"),
)

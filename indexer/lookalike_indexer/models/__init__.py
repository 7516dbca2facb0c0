"""Networks: models of torchvision, timm and open_clip by name, their weights, and their nodes as embedding spaces.

Building and loading:
    architecture.py       models by name
    timm_models.py        models of timm
    open_clip_models.py   models of open_clip
    weights.py            the option --weights
    presets.py            transforms of published weights
    statefile.py          state dicts from files
    untrained.py          untrained networks, calibrated on images
    carried.py            a network as bytes
    availability.py       published weights on this machine
    hub_cache.py          cache of the model hub

Running:
    nodes.py              nodes of a network by name
    network.py            a network that returns several spaces in one pass
    channel_axis.py       channel axis of a node's output
    pooling.py            pooling of feature maps
    compute.py            floating-point type
    normalize.py          normalization on the device
    text_encoder.py       text encoder of a CLIP-like model
"""

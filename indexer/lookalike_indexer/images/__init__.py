"""Images: from encoded bytes to upright RGB, to thumbnails, and to the input of a network. Does not import torch.

Decoding:
    formats.py          supported formats
    decode.py           encoded bytes to upright RGB
    rgb.py              other pixel modes to RGB
    deep_color.py       16-bit samples
    levels.py           levels of any type to 8 bits

Preparing:
    preprocessing.py    resize and crop
    prepare.py          work of a decoding worker
    image_box.py        a region of an image
    thumbnail.py        thumbnail of an image

Processes:
    workers.py          decoding in worker processes
    thumbnail_pool.py   thumbnails in worker processes
    isolated_pool.py    isolated worker processes for untrusted bytes
    lifeline.py         ends a process with its parent
"""

"""Attribution of a classification to parts of an image, as heatmaps by captum.

    opened.py       a model of a collection, loaded for explanations
    attributor.py   Grad-CAM and guided backpropagation
    graph.py        network rewritten for gradients
    drawn.py        attributions drawn over an image

`opened.py` is the entry point.
"""

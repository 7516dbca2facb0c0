"""Networks: torchvision's classification models by name, their weights, and their nodes as embedding spaces."""

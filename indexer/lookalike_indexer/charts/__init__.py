"""Drawings of experiment results and thumbnails, by Pillow and matplotlib.

Basic drawings:
    bars.py             bar charts
    heatmap.py          heatmaps
    montage.py          montages: images with captions
    sheet.py, table.py  sheets and tables of images and texts
    figures.py          labels and PNG files of charts
    lettering.py        font, and texts fitted to the available space
    palette.py          colors of categories
    overlay.py          an attribution over an image
    thumbnails.py       thumbnails of stored images

Results of experiments, by the experiment's name:
    choose_k.py, dendrogram.py, duplicates.py, evolution.py, explain_sheet.py, explanation.py,
    image_clusters.py, interpret.py, label_issues.py, layer_sheet.py, leaks.py, map2d.py, matrix.py,
    mistakes.py, oddballs.py, quality.py, sample.py, scores.py, split.py
"""

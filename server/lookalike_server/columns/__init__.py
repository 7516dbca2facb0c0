"""Metadata of the images as columns in memory, and maps between images and rows.

columns.py         images table: ids, keys, labels, URIs, sizes
ids.py             rows by id
keys.py            rows by key
text_column.py     texts by row
text_sizes.py      upper bounds of the bytes of texts in a reply
rows.py            rows of a served index, and the images that it lacks
space_images.py    ids and texts of the rows of a space
row_mask.py        rows that a search may return
stored_vectors.py  single stored vectors
clusterings.py     clusterings and their members
spread.py          evenly spread order of images
array_file.py      arrays in a file that several processes map
"""

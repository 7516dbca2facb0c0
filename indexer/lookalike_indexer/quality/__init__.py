"""Quality of pictures: what is measured of the pixels, and the flags that follow, kept as attributes."""

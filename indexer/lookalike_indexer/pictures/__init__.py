"""Drawing: results of experiments and thumbnails to pictures, by Pillow and matplotlib."""

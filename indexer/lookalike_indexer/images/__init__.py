"""Pictures: encoded bytes to upright RGB, to thumbnails, and to what a network takes. Knows no torch."""

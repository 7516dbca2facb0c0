"""Work in processes of their own, and queues before it: networks, experiments, thumbnails."""

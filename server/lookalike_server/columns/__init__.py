"""What is known of each image, as columns in memory."""

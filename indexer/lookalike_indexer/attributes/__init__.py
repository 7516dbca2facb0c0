"""What people attach to the images of a collection: tables of attributes, joined by key."""

"""What in a picture made a network say a class: pictures of its attention, by captum."""

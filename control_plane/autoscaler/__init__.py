"""What changes the size of things by itself: pods (HPA), requests (VPA), nodes."""

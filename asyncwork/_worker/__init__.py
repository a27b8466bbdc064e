"""What runs while a pool runs."""

"""What runs on a schedule: data, features, fits, gates, registration."""

"""A simulated platform: learners with hidden skill, memory, engagement and thrift, and the tables they leave behind."""

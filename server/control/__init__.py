"""The one process that talks to MLflow and writes the store; it decides what is live and tells the workers."""

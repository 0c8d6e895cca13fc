"""What is measured: the questions, the artifact, the echo, the session alone, the server and their processes."""

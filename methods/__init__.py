"""Pure functions of the trade, shared by training and serving: no I/O, no grpc, no mlflow."""

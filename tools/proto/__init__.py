"""From protos/ to generated code, and the checks that both stay one."""

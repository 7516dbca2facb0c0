"""Callers that ask a gRPC server: in processes of their own, in a closed loop or at a fixed rate."""
